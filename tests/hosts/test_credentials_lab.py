"""SMTP credentials on each Debian: who may submit, as whom and from where."""

import contextlib
import smtplib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from imapclient import IMAPClient
from labkit import wait_for
from mtakit import DOMAIN, SECOND, Client, Login, Mta, known, submit

pytestmark = pytest.mark.lab

#: Networks that the test's own addresses are in, and some that they aren't.
HERE = ["198.51.100.0/24", "2001:db8:51::1"]
ELSEWHERE = ["203.0.113.0/24", "198.51.100.2", "2001:db8:99::/48"]
FOR_GOOD = 550
#: An open session that lost all that it was good for may be told to come back: then it is for good.
REFUSED = (451, FOR_GOOD)


def swaks(
    lab: dict[str, Any], at: str, login: Login, sender: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """An application that knows nothing of Mailfleet."""
    command = [
        *("swaks", "--timeout", "20", "--server", at, "--to", lab["world"]["mailbox"]),
        *("--from", sender, "--auth", "PLAIN"),
        *("--auth-user", login.user, "--auth-password", login.password),
        *("--tls-verify", "--tls-ca-path", lab["ca"]),
    ]
    mode = more or ("--tls", "--port", "587", "--header", f"From: {sender}")
    return subprocess.run(
        [*command, *mode], capture_output=True, text=True, timeout=60, check=False
    )


def test_each_kind_of_credential(
    lab: dict[str, Any], client: Client, wide: Login, narrow: Login, mta: Mta
) -> None:
    from_here = client.credential(domains=[DOMAIN], allowed_ips=HERE)
    from_elsewhere = client.credential(allow_all_domains=True, allowed_ips=ELSEWHERE)
    known(mta.machine, from_elsewhere)
    tls_from_the_start = ("--tlsc", "--port", "465")
    for login, server, sender, mode in [
        (wide, mta.at, f"a@{DOMAIN}", ()),
        (wide, mta.at, f"a@{SECOND}", tls_from_the_start),
        (narrow, mta.at, f"News@{DOMAIN.upper()}", ()),
        (from_here, mta.at, f"a@{DOMAIN}", ()),
        (from_here, mta.at6, f"a@{DOMAIN}", tls_from_the_start),
        (Login(wide.user.upper(), wide.password), mta.at, f"a@{DOMAIN}", ()),
    ]:
        done = swaks(lab, server, login, sender, *mode)
        assert done.returncode == 0, done.stdout
    for login, server, sender, answer in [
        (narrow, mta.at, f"a@{SECOND}", "550 5.7.1"),
        (from_here, mta.at6, f"a@{SECOND}", "550 5.7.1"),
        (wide, mta.at, "a@worldpost.org", "550 5.7.1"),
        (wide, mta.at, "alice@acme-mail.net", "550 5.7.1"),
        (wide, mta.at, f"a@sub.{DOMAIN}", "550 5.7.1"),
        (from_elsewhere, mta.at, f"a@{DOMAIN}", "535 5.7.8"),
        (from_elsewhere, mta.at6, f"a@{DOMAIN}", "535 5.7.8"),
        (Login(wide.user, "wrong"), mta.at, f"a@{DOMAIN}", "535 5.7.8"),
    ]:
        done = swaks(lab, server, login, sender)
        assert answer in done.stdout, (login.user, sender, done.stdout)


@pytest.mark.parametrize(
    ("header", "envelope"),
    [
        (f"a@{SECOND}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}", f"a@{SECOND}"),
        (f'"a@{DOMAIN}" <a@{SECOND}>', f"a@{DOMAIN}"),
        (f"a@{DOMAIN}, b@{DOMAIN}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}\nSender: a@{SECOND}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}\nFrom: a@{SECOND}", f"a@{DOMAIN}"),
    ],
)
def test_neither_envelope_nor_from_may_be_anothers(
    lab: dict[str, Any], narrow: Login, mta: Mta, header: str, envelope: str
) -> None:
    data = f"From: {header}\nSubject: forged\n\nx\n"
    done = swaks(lab, mta.at, narrow, envelope, "--tls", "--port", "587", "--data", data)
    assert "550 5.7.1" in done.stdout, done.stdout


def test_the_envelope_may_be_another_of_its_domains(wide: Login, mta: Mta) -> None:
    with wide.connect(mta.at, mta.tls) as session:
        assert submit(session, f"news@{DOMAIN}", mta.walter, envelope=f"bounces+17@{SECOND}")


def test_a_credential_is_for_submission_alone(wide: Login, mta: Mta) -> None:
    with (
        IMAPClient(mta.at, ssl_context=mta.tls, timeout=20) as imap,
        pytest.raises(IMAPClient.Error, match="disabled"),
    ):
        imap.login(wide.user, wide.password)
    with smtplib.SMTP(mta.at, 25, timeout=20) as mx:
        mx.starttls(context=mta.tls)
        with pytest.raises(smtplib.SMTPNotSupportedError):
            mx.login(wide.user, wide.password)


def told(session: smtplib.SMTP, sender: str, to: str) -> int:
    """What the server answers to a message."""
    try:
        submit(session, sender, to)
    except smtplib.SMTPDataError as error:
        return error.smtp_code
    return 250


@contextlib.contextmanager
def within_a_second(session: smtplib.SMTP, sender: str, to: str, *codes: int) -> Iterator[None]:
    """A second after the block, and no later, the session's messages are answered so."""
    yield
    answered = time.monotonic()
    time.sleep(0.9)
    assert told(session, sender, to) in codes
    assert time.monotonic() < answered + 2


def test_a_change_is_felt_within_a_second_by_open_sessions(client: Client, mta: Mta) -> None:
    login = client.credential(domains=[DOMAIN])
    known(mta.machine, login)
    path = f"/credentials/{login.user}"
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{DOMAIN}", mta.walter) == 250
        assert told(session, f"a@{SECOND}", mta.walter) == FOR_GOOD
        with within_a_second(session, f"a@{SECOND}", mta.walter, 250):
            client.data("PUT", path, {"domains": [SECOND]})
        assert told(session, f"a@{DOMAIN}", mta.walter) == FOR_GOOD
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, 250):
            client.data("PUT", path, {"allow_all_domains": True})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, FOR_GOOD):
            client.data("PUT", path, {"allowed_ips": ELSEWHERE})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, 250):
            client.data("PUT", path, {"allow_all_ips": True})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, *REFUSED):
            client.gone(path)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        login.connect(mta.at, mta.tls)


def test_one_made_anew_does_not_take_over_an_open_session(client: Client, mta: Mta) -> None:
    login = client.credential()
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{DOMAIN}", mta.walter) == 250
        client.gone(f"/credentials/{login.user}")
        made = client.call(
            "POST", "/credentials", {"user": login.user, "allow_all_domains": True}
        ).json()
        again = Login(login.user, made["password"])
        wait_for("the new password", lambda: works(again, mta))
        assert told(session, f"a@{DOMAIN}", mta.walter) in REFUSED


def works(login: Login, mta: Mta) -> bool:
    try:
        login.connect(mta.at, mta.tls).quit()
    except smtplib.SMTPAuthenticationError:
        return False
    return True


def test_a_deleted_domain_is_refused_and_its_credential_with_it(client: Client, mta: Mta) -> None:
    name = "gone.acme-mail.net"
    client.domain(name)
    login = client.credential(domains=[name])
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == 250
        with within_a_second(session, f"a@{name}", mta.walter, *REFUSED):
            client.gone(f"/domains/{name}")
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    assert client.data("GET", "/credentials")[-1]["domains"] == []
    # Adding it again gives nobody a right that was taken.
    client.domain(name)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    client.gone(f"/domains/{name}")


def test_an_unverified_domain_is_refused(client: Client, mta: Mta) -> None:
    # Its zone is not ours to write, and nobody copies the record.
    name = "cluster.bring-your-own.net"
    assert client.data("POST", "/domains", {"name": name})["status"] == "pending"
    login = client.credential(domains=[name])
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    client.gone(f"/domains/{name}")
