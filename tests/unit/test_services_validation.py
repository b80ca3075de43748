"""Values that reach templates and records."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Invalid
from orchestrator.services import validation


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("acme.com", "acme.com"),
        ("ACME.Com.", "acme.com"),
        ("a-b.co.uk", "a-b.co.uk"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("почта.рф", "xn--80a1acny.xn--p1ai"),
        ("acme。com", "acme.com"),
    ],
)
def test_fqdn_is_given_as_lower_case_a_labels(text: str, name: str) -> None:
    assert validation.fqdn(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "com",
        "localhost",
        "mail.localhost",
        "printer.local",
        "acme.test",
        "acme.invalid",
        "acme.example",
        "acme.localdomain",
        "acme.internal",
        "acme.onion",
        "1.168.192.in-addr.arpa",
        "192.0.2.1",
        "[192.0.2.1]",
        "2001:db8::1",
        "foo_bar.com",
        "-acme.com",
        "acme-.com",
        "a..com",
        ".acme.com",
        "acme.com..",
        "*.acme.com",
        "acme.com\n",
        "acme.com\r\nx",
        "ac me.com",
        "acme.com\0",
        "acme.123",
        "☃.com",
        "xn--zzzzzzzzz\u00e9.com",
        "xn--a.com",
        "a" * 64 + ".com",
        ".".join(["a" * 60] * 5) + ".com",
        "a." * 4000 + "com",
        "http://acme.com",
        "acme.com/x",
        "acme.com:25",
        "user@acme.com",
    ],
)
def test_fqdn_refuses(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        validation.fqdn(text, field="name")
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("Alice@ACME.com", "alice@acme.com"),
        ("first.last@acme.com", "first.last@acme.com"),
        ("o'brien@acme.com", "o'brien@acme.com"),
        ("a@bücher.de", "a@xn--bcher-kva.de"),
    ],
)
def test_email_is_lower_cased(text: str, email: str) -> None:
    assert validation.email(text) == email


@pytest.mark.parametrize(
    "local",
    [
        "",
        "a" * 65,
        ".a",
        "a.",
        "a..b",
        "a b",
        "a:b",
        "a%b",
        "a/b",
        "../b",
        "a\\b",
        "a\nb",
        "a\r\nb",
        "a\0b",
        '"a b"',
        "a@b",
        "-a",
        "#a",
        "é",
        "a+b",
        "a,b",
        "a;b",
        "$a",
        "`a`",
        "<a",
    ],
)
def test_email_refuses_what_could_end_a_field_or_a_path(local: str) -> None:
    with pytest.raises(Invalid):
        validation.email(f"{local}@acme.com")


@given(st.text())
def test_no_text_becomes_an_unsafe_email(text: str) -> None:
    for candidate in (text, f"{text}@acme.com", f"a@{text}", f"a@{text}.com"):
        try:
            made = validation.email(candidate)
        except Invalid:
            continue
        assert re.fullmatch(r"[a-z0-9_+='.-]+@[a-z0-9.-]+", made)
        assert not made.startswith(("-", ".")) and ".." not in made


@given(st.text())
def test_a_name_is_a_fixed_point_or_refused(text: str) -> None:
    try:
        name = validation.fqdn(text)
    except Invalid:
        return
    assert validation.fqdn(name) == name
    assert re.fullmatch(r"[a-z0-9.-]+", name)


@given(st.text())
def test_recipients_and_lines_never_hold_a_line_end(text: str) -> None:
    for candidate in (text, f"{text}@acme.com"):
        with suppress(Invalid):
            assert "\0" not in validation.line(candidate, field="subject", limit=998)
            assert len(candidate.splitlines()) <= 1
        with suppress(Invalid):
            assert re.fullmatch(r"[!-~]+@[a-z0-9.-]+", validation.recipient(candidate))


def test_recipient_keeps_the_case_of_the_local_part() -> None:
    assert validation.recipient("John.O/X%y@ACME.com") == "John.O/X%y@acme.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1.2.3",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.1.1",
        "::1",
        "::",
        "fe80::1",
        "2001:db8::1%eth0",
        "::ffff:198.51.100.1",
        "010.1.1.1",
        "198.51.100.1\n",
    ],
)
def test_ip_refuses(text: str) -> None:
    with pytest.raises(Invalid):
        validation.ip(text)


def test_ip_is_canonical() -> None:
    assert validation.ip("2001:DB8:0:0::1") == "2001:db8::1"
    assert validation.ip("127.0.0.1", loopback=True) == "127.0.0.1"


@pytest.mark.parametrize("text", ["", "A", "a b", "a_b", "-a", "a-", "a" * 64, "a\n", "é"])
def test_slug_refuses(text: str) -> None:
    with pytest.raises(Invalid):
        validation.slug(text)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00b", "a\u2028b", "\x1b[31m", "x" * 201])
def test_display_name_refuses(text: str) -> None:
    with pytest.raises(Invalid):
        validation.display_name(text)


def test_zone_names_may_be_reverse_and_single() -> None:
    assert validation.zone_name("100.51.198.IN-ADDR.arpa.") == "100.51.198.in-addr.arpa"
    assert validation.zone_name("mailfleet-lab") == "mailfleet-lab"
    for text in ("", "a..b", "a b", "a\nb", "-a"):
        with pytest.raises(Invalid):
            validation.zone_name(text)


def test_port_bounds() -> None:
    assert validation.port(65535) == 65535
    for number in (0, -1, 65536):
        with pytest.raises(Invalid):
            validation.port(number)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.5", "203.0.113.5/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
    ],
)
def test_networks_are_given_in_their_canonical_form(text: str, network: str) -> None:
    assert str(validation.network(text)) == network


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.5/24",
        "::ffff:203.0.113.5",
        "fe80::1%eth0",
        "2001:db8::1%\n0.0.0.0/0",
        "2001:db8::1% permit/128",
    ],
)
def test_what_is_no_network_of_the_internet(text: str) -> None:
    with pytest.raises(Invalid):
        validation.network(text)
