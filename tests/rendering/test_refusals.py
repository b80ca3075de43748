"""No value can become a second line, field, option or path: it is refused."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import rendering
from orchestrator.errors import Invalid
from orchestrator.hostspec import AddressSpec, DkimKeySpec, HostSpec, OsName, TlsSpec
from orchestrator.rendering import filters
from orchestrator.rendering.requirements import of

DANGEROUS = list('\n\r\0\t :;,%$#{}()[]<>|&\\"`@*?!~^\x7f\x85\u2028é')

# For each filter something that it accepts, into which something dangerous is put.
GOOD: dict[str, str] = {
    "fqdn": "mx1.fleetlab.net",
    "email": "alice@acme-mail.net",
    "ip": "198.51.100.21",
    "selector": "mf1",
    "transport": "out-198-51-100-21",
    "password_hash": "{SHA512-CRYPT}$6$salt$hash",
}
HARMLESS = {"password_hash": "$,"}


@pytest.mark.parametrize("name", GOOD)
@given(data=st.data())
def test_a_dangerous_character_anywhere_is_refused(name: str, data: st.DataObject) -> None:
    good = GOOD[name]
    assert filters.FILTERS[name](good) == good
    position = data.draw(st.integers(0, len(good)))
    dangerous = [c for c in DANGEROUS if c not in HARMLESS.get(name, "")]
    bad = good[:position] + data.draw(st.sampled_from(dangerous)) + good[position:]
    with pytest.raises(Invalid) as refusal:
        filters.FILTERS[name](bad)
    assert good not in str(refusal.value)


@pytest.mark.parametrize("name", [*GOOD, "pem"])
@given(value=st.text() | st.none() | st.integers() | st.binary())
def test_what_is_accepted_is_one_harmless_line(name: str, value: Any) -> None:
    try:
        text = filters.FILTERS[name](value)
    except Invalid:
        return
    assert text
    assert text.removesuffix("\n").isprintable() or name == "pem"
    if name != "pem":
        assert not set(text) & (set(DANGEROUS) - set("@{}$,")), text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "alice+tag@acme-mail.net"),
        ("email", "Alice@acme-mail.net"),
        ("email", "../alice@acme-mail.net"),
        ("email", "a..b@acme-mail.net"),
        ("email", ".@acme-mail.net"),
        ("email", "-f@acme-mail.net"),
        ("email", "alice@localhost"),
        ("email", "@acme-mail.net"),
        ("fqdn", "mx1"),
        ("fqdn", "mx1.fleetlab.net."),
        ("fqdn", "-a.fleetlab.net"),
        ("fqdn", "a" * 64 + ".net"),
        ("ip", "198.51.100.021"),
        ("ip", "2001:DB8::1"),
        ("ip", "fe80::1%eth0"),
        ("selector", "a/../b"),
        ("password_hash", "{PLAIN}secret"),
        ("password_hash", "{CLEARTEXT}secret"),
        ("password_hash", "secret"),
        ("password_hash", "{SHA512-CRYPT}"),
        ("positive", 0),
        ("positive", True),
        ("positive", "1"),
        ("pem", "a\n\nb"),
    ],
)
def test_refused(name: str, value: object) -> None:
    with pytest.raises(Invalid):
        filters.FILTERS[name](value)


def _first_mailbox(spec: HostSpec, **change: Any) -> HostSpec:
    first = dataclasses.replace(spec.mailboxes[0], **change)
    return dataclasses.replace(spec, mailboxes=(first, *spec.mailboxes[1:]))


BREAKS: dict[str, Callable[[HostSpec], HostSpec]] = {
    "hostname": lambda s: dataclasses.replace(s, hostname="mx1.net\nmynetworks = 0.0.0.0/0"),
    "address": lambda s: dataclasses.replace(s, address="198.51.100.11 -o x=y"),
    "address name": lambda s: dataclasses.replace(
        s, addresses=(AddressSpec("198.51.100.21", "a.net -o mynetworks=0/0"), *s.addresses[1:])
    ),
    "domain": lambda s: dataclasses.replace(s, domains=(*s.domains, "evil.net relay:[x]")),
    "email": lambda s: _first_mailbox(s, email="a:b@acme-mail.net"),
    "hash": lambda s: _first_mailbox(s, password_hash="{SHA512-CRYPT}x::0:0::/:"),
    "quota": lambda s: _first_mailbox(s, quota_mib=-1),
    "remote host": lambda s: dataclasses.replace(
        s, remote_mailboxes=(dataclasses.replace(s.remote_mailboxes[0], hostname="x]:25\n* smtp"),)
    ),
    "probe": lambda s: dataclasses.replace(
        s, probes=(dataclasses.replace(s.probes[0], sender="a b@mx1.fleetlab.net"),)
    ),
    "selector": lambda s: dataclasses.replace(
        s, dkim_keys=(DkimKeySpec("acme-mail.net", "a:/etc/shadow", "KEY"),)
    ),
    "key": lambda s: dataclasses.replace(
        s, dkim_keys=(DkimKeySpec("acme-mail.net", "a", "KEY\0"),)
    ),
    "certificate": lambda s: dataclasses.replace(s, tls=TlsSpec("", "KEY")),
    "size": lambda s: dataclasses.replace(s, message_size_limit=0),
    "foreign egress": lambda s: _first_mailbox(s, egress_ip="203.0.113.1"),
    "foreign domain": lambda s: _first_mailbox(s, email="alice@elsewhere.net"),
    "twice": lambda s: _first_mailbox(s, email=s.mailboxes[1].email),
    "local and remote": lambda s: _first_mailbox(s, email=s.remote_mailboxes[0].email),
    "os": lambda s: dataclasses.replace(s, os="debian11"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_spec_with_one_bad_value_is_refused(what: str, spec: HostSpec) -> None:
    with pytest.raises(Invalid):
        rendering.render(BREAKS[what](spec))


@dataclasses.dataclass(frozen=True)
class Account:
    uid: int
    gid: int
    groups: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Directory:
    mode: int
    owner: str
    group: str


def test_accounts_are_satisfied_only_when_all_are(os_name: OsName) -> None:
    required = of(os_name)
    accounts = {
        "vmail": Account(5000, 5000, frozenset({"vmail"})),
        "postfix": Account(101, 101, frozenset({"postfix", "opendkim"})),
    }
    directories = {
        path: Directory(int(mode, 8), owner, group)
        for path, owner, group, mode in required.directories
    }
    assert required.accounts_satisfied(accounts, directories)
    assert not required.accounts_satisfied(
        accounts | {"vmail": Account(5000, 1000, frozenset())}, directories
    )
    assert not required.accounts_satisfied(
        accounts | {"postfix": Account(101, 101, frozenset({"postfix"}))}, directories
    )
    for path in directories:
        others = {name: seen for name, seen in directories.items() if name != path}
        assert not required.accounts_satisfied(accounts, others)
        opened = others | {path: Directory(0o777, "root", "root")}
        assert not required.accounts_satisfied(accounts, opened)


def test_there_is_nothing_for_another_debian() -> None:
    with pytest.raises(Invalid):
        of("debian11")  # type: ignore[arg-type]
