"""The running lab does what the rest of the tests rely on."""

from __future__ import annotations

import email
import email.message
import email.policy
import imaplib
import json
import smtplib
import socket
import ssl
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.zone
import paramiko
import pytest

from orchestrator.lab import pki
from orchestrator.lab.access import Lab
from orchestrator.lab.errors import LabError
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.up import up

pytestmark = pytest.mark.lab


def resolver(described: dict[str, Any]) -> dns.resolver.Resolver:
    made = dns.resolver.Resolver(configure=False)
    made.nameservers = [described["resolver"]]
    made.lifetime = 5
    return made


def ask(described: dict[str, Any], name: str, kind: str) -> list[str]:
    return [rdata.to_text() for rdata in resolver(described).resolve(name, kind)]


def update(
    running: Lab, described: dict[str, Any], zone: str, *, key: str = "tsig", add: tuple[Any, ...]
) -> dns.rcode.Rcode:
    settings = described["dns"]
    name = settings["tsig_name" if key == "tsig" else "customer_tsig_name"]
    file = settings[f"{'' if key == 'tsig' else 'customer_'}tsig_secret_file"]
    secret = (running.state.dir.parent / file).read_text().strip()
    keyring = dns.tsigkeyring.from_text({name: secret})
    message = dns.update.Update(zone, keyring=keyring, keyalgorithm=settings["tsig_algorithm"])
    message.replace(*add)
    try:
        return dns.query.tcp(message, settings["authoritative"], timeout=5).rcode()
    except (dns.tsig.PeerError, dns.exception.FormError):
        # Knot does not sign its refusal, which dnspython reports as a malformed answer.
        return dns.rcode.NOTAUTH


def eventually(check: Any, *, seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = check()
            if value or time.monotonic() > deadline:
                return value
        except (AssertionError, OSError, dns.exception.DNSException):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


@pytest.fixture
def zone(running: Lab) -> Iterator[str]:
    name = f"z{uuid.uuid4().hex[:10]}.net"
    running.add_zone(name, managed=True)
    yield name
    running.remove_zone(name)


def messages(described: dict[str, Any], token: str) -> list[email.message.EmailMessage]:
    world = described["world"]
    context = ssl.create_default_context(cadata=(Path(described["_dir"]) / "ca.pem").read_text())
    # The certificate names the address as well as the host.
    with imaplib.IMAP4_SSL(world["address"], ssl_context=context) as imap:
        imap.login(world["mailbox"], world["password"])
        imap.select("INBOX", readonly=True)
        _, found = imap.search(None, "SUBJECT", token)
        result = []
        for number in found[0].split():
            _, parts = imap.fetch(number.decode(), "(BODY.PEEK[])")
            assert isinstance(parts[0], tuple)
            parsed = email.message_from_bytes(parts[0][1], policy=email.policy.default)
            assert isinstance(parsed, email.message.EmailMessage)
            result.append(parsed)
        return result


@pytest.fixture
def lab_dict(running: Lab, described: dict[str, Any]) -> dict[str, Any]:
    return {**described, "_dir": str(running.state.dir)}


def test_names_of_the_infrastructure_are_resolved(described: dict[str, Any]) -> None:
    assert ask(described, "control.fleetlab.net", "A") == ["198.51.100.1"]
    assert ask(described, "control.fleetlab.net", "AAAA") == ["2001:db8:51::1"]
    assert ask(described, "probe.fleetlab.net", "MX") == ["10 control.fleetlab.net."]
    assert ask(described, "80.100.51.198.in-addr.arpa", "PTR") == ["world.worldpost.org."]
    six = resolver(described).resolve_address("2001:db8:51::80")
    assert [rdata.to_text() for rdata in six] == ["world.worldpost.org."]
    assert ask(described, "worldpost.org", "MX") == ["10 world.worldpost.org."]


def test_an_unknown_name_does_not_exist_and_says_so_quickly(described: dict[str, Any]) -> None:
    begun = time.monotonic()
    with pytest.raises(dns.resolver.NXDOMAIN):
        ask(described, f"{uuid.uuid4().hex}.com", "A")
    assert time.monotonic() - begun < 2


def test_fleet_key_updates_managed_zones_only(
    running: Lab, described: dict[str, Any], zone: str
) -> None:
    record = ("probe", 5, "TXT", '"one"')
    assert update(running, described, zone, add=record) == dns.rcode.NOERROR
    assert eventually(lambda: ask(described, f"probe.{zone}", "TXT")) == ['"one"']
    changed = ("probe", 5, "TXT", '"two"')
    assert update(running, described, zone, add=changed) == dns.rcode.NOERROR
    assert eventually(lambda: ask(described, f"probe.{zone}", "TXT") == ['"two"'])

    foreign = f"z{uuid.uuid4().hex[:10]}.org"
    running.add_zone(foreign, managed=False)
    assert update(running, described, foreign, add=record) == dns.rcode.NOTAUTH
    assert update(running, described, "worldpost.org", add=record) == dns.rcode.NOTAUTH
    assert update(running, described, zone, key="customer", add=record) == dns.rcode.NOTAUTH
    assert update(running, described, foreign, key="customer", add=record) == dns.rcode.NOERROR
    assert eventually(lambda: ask(described, f"probe.{foreign}", "TXT")) == ['"one"']
    running.remove_zone(foreign)


def test_zone_transfer_needs_the_key(running: Lab, described: dict[str, Any], zone: str) -> None:
    settings = described["dns"]
    secret = (running.state.dir.parent / settings["tsig_secret_file"]).read_text().strip()
    keyring = dns.tsigkeyring.from_text({settings["tsig_name"]: secret})
    query = dns.message.make_query(zone, "AXFR")
    refused = dns.query.tcp(query, settings["authoritative"], timeout=5)
    assert refused.rcode() == dns.rcode.NOTAUTH
    transferred = dns.zone.Zone(zone)
    axfr = dns.message.make_query(zone, "AXFR")
    axfr.use_tsig(keyring, algorithm=settings["tsig_algorithm"])
    dns.query.inbound_xfr(settings["authoritative"], transferred, query=axfr, timeout=5)
    assert transferred.find_rrset("@", "NS")


def test_zones_come_and_go_and_can_be_lame(running: Lab, described: dict[str, Any]) -> None:
    name = f"z{uuid.uuid4().hex[:10]}.org"
    with pytest.raises(dns.resolver.NXDOMAIN):
        ask(described, name, "NS")
    running.add_zone(name, managed=False)
    running.add_zone(name, managed=False)
    try:
        assert eventually(lambda: ask(described, name, "NS")) == ["ns1.fleetlab.net."]
        record = ("probe", 5, "TXT", '"one"')
        assert update(running, described, name, add=record) == dns.rcode.NOTAUTH
        assert update(running, described, name, key="customer", add=record) == dns.rcode.NOERROR
        running.remove_zone(name, lame=True)

        def failing() -> bool:
            query = dns.message.make_query(f"probe.{name}", "TXT")
            answer = dns.query.udp(query, described["resolver"], timeout=5)
            return answer.rcode() == dns.rcode.SERVFAIL

        assert eventually(failing)
        running.add_zone(name, managed=False)
        assert eventually(lambda: ask(described, name, "NS"))
        # It begins afresh: the record from before is gone.
        with pytest.raises(dns.resolver.NXDOMAIN):
            ask(described, f"probe.{name}", "TXT")
    finally:
        running.remove_zone(name)
    with pytest.raises(dns.resolver.NXDOMAIN):
        ask(described, name, "NS")


@pytest.mark.parametrize("name", ["Bad.net", "one", "a b.net", "../x.net", "fleetlab.net", ""])
def test_zone_names_are_checked(running: Lab, name: str) -> None:
    with pytest.raises(LabError):
        running.add_zone(name, managed=True)


def test_hosts_open_to_the_lab_key_and_have_their_addresses(
    running: Lab, described: dict[str, Any]
) -> None:
    for host in described["hosts"]:
        client = paramiko.SSHClient()
        client.load_host_keys(str(running.state.path("known_hosts")))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        key = paramiko.Ed25519Key.from_private_key_file(str(running.state.path("id_ed25519")))
        client.connect(
            host["address"], username="root", pkey=key, look_for_keys=False, allow_agent=False
        )
        try:
            _, stdout, _ = client.exec_command("hostname -f; ip -oneline address; ip route")
            output = stdout.read().decode()
        finally:
            client.close()
        assert output.splitlines()[0] == host["hostname"]
        for address in (host["address"], host["address6"], *host["dedicated_ips"]):
            assert f" {address}/" in output
        assert "default" not in output  # Nothing leaves.
        with socket.create_connection((host["dedicated_ips"][0], 22), timeout=5) as connection:
            assert connection.recv(4) == b"SSH-"


def test_world_verifies_what_arrives(running: Lab, lab_dict: dict[str, Any], zone: str) -> None:
    key = pki.dkim_key()
    record = f'"v=DKIM1; k=rsa; p=" "{(p := pki.dkim_public(key.decode()))[:200]}" "{p[200:]}"'
    for add in (
        ("@", 5, "TXT", '"v=spf1 ip4:198.51.100.1 -all"'),
        ("s1._domainkey", 5, "TXT", record),
        ("_dmarc", 5, "TXT", '"v=DMARC1; p=reject"'),
    ):
        assert update(running, lab_dict, zone, add=add) == dns.rcode.NOERROR
    eventually(lambda: ask(lab_dict, f"_dmarc.{zone}", "TXT"))

    token = uuid.uuid4().hex
    verdicts = {}
    for kind in ("good", "unsigned-forger"):
        sender = f"a@{zone}"
        text = (
            f"From: <{sender}>\r\nTo: <anyone@worldpost.org>\r\nSubject: {token}-{kind}\r\n"
            f"Date: {email.utils.formatdate()}\r\nMessage-ID: <{kind}.{token}@{zone}>\r\n"
        )
        body = "\r\nHello, world.\r\n"
        message = (text + body).encode()
        if kind == "good":
            message = dkim.sign(message, b"s1", zone.encode(), key) + message
            source = "198.51.100.1"
        else:
            forged = "Authentication-Results: world.worldpost.org; dkim=pass; dmarc=pass; spf=pass"
            message = f"{forged}\r\n".encode() + message
            source = "2001:db8:51::1"
        target = lab_dict["world"]["address6" if ":" in source else "address"]
        with smtplib.SMTP(target, 25, "control.fleetlab.net", source_address=(source, 0)) as smtp:
            smtp.starttls(context=ssl._create_unverified_context())
            smtp.sendmail(sender, ["anyone@worldpost.org"], message)
        found = eventually(lambda kind=kind: messages(lab_dict, f"{token}-{kind}"))
        assert len(found) == 1
        assert found[0]["Delivered-To"] == "anyone@worldpost.org"
        headers = [str(value) for value in found[0].get_all("Authentication-Results", [])]
        assert all(value.startswith("world.worldpost.org;") for value in headers)
        verdicts[kind] = " ".join(headers)
    for passed in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert passed in verdicts["good"]
        assert passed not in verdicts["unsigned-forger"]
    for failed in ("spf=fail", "dkim=none", "dmarc=fail"):
        assert failed in verdicts["unsigned-forger"]


def test_world_sends_for_those_who_log_in_only(lab_dict: dict[str, Any]) -> None:
    world = lab_dict["world"]
    token = uuid.uuid4().hex
    context = ssl.create_default_context(cadata=(Path(lab_dict["_dir"]) / "ca.pem").read_text())
    with smtplib.SMTP(world["address"], 25) as smtp:
        smtp.ehlo()
        smtp.mail("a@acme-mail.net")
        assert smtp.rcpt("someone@bring-your-own.net")[0] == 554
    with smtplib.SMTP(world["address"], 587) as smtp:
        smtp.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(world["mailbox"], "wrong")
    with smtplib.SMTP(world["address"], 587) as smtp:
        smtp.starttls(context=context)
        smtp.login(world["mailbox"], world["password"])
        smtp.sendmail(
            world["mailbox"],
            [f"{token}@{world['domain']}"],
            f"From: <{world['mailbox']}>\r\nTo: <x@y.net>\r\nSubject: {token}\r\n\r\nHi.\r\n",
        )
    (found,) = eventually(lambda: messages(lab_dict, token))
    assert "d=worldpost.org" in found["DKIM-Signature"]


def test_http_receiver_stores_lists_and_clears(described: dict[str, Any]) -> None:
    base = f"{described['world']['http']}/hook/{uuid.uuid4().hex}"

    def call(method: str, url: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            body: bytes = answer.read()
            return body

    call("POST", f"{base}/a", b'{"event": 1}')
    call("POST", f"{base}/b", b"two")
    stored = json.loads(call("GET", base))
    assert [(one["path"][-1], one["body"]) for one in stored] == [
        ("a", '{"event": 1}'),
        ("b", "two"),
    ]
    call("DELETE", base)
    assert json.loads(call("GET", base)) == []


def test_up_again_is_harmless_and_quick(running: Lab) -> None:
    before = [running.container(name).id for name in running.names()]
    started = [running.container(name).attrs["State"]["StartedAt"] for name in running.names()]
    known = running.state.merge_json("lab.json", {"written_by": "somebody else"})
    begun = time.monotonic()
    info = up(running.state.dir, running.topology, Reporter())
    assert time.monotonic() - begun < 10
    assert info.data == known
    del known["written_by"]
    running.state.write("lab.json", json.dumps(known, indent=2) + "\n")
    assert [running.container(name).id for name in running.names()] == before
    after = [running.container(name).attrs["State"]["StartedAt"] for name in running.names()]
    assert after == started
