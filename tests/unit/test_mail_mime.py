from email import message_from_bytes, policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import Invalid
from orchestrator.mail.mime import build, recipients
from orchestrator.mail.parsing import parse_message
from orchestrator.mail.probe import build_probe
from orchestrator.mail.types import OutgoingMessage


def message(**changes: object) -> OutgoingMessage:
    fields: dict[str, object] = {"to": ("lena@acme.com",), "subject": "Hi", "text": "Hello\n"}
    return OutgoingMessage(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_message_with_everything() -> None:
    mail, message_id = build(
        "alice@acme.com",
        message(
            to=("Lena <lena@acme.com>", "max@acme.com"),
            cc=("Jörg Ü. <joerg@acme.com>",),
            bcc=("secret@acme.com",),
            subject="Grüße an alle €",
            text="Hallo ß\n.\nFrom here\n" + "x" * 2000,
            html="<p>Hallo ß</p>",
            from_name='Alice "A", at Acme',
            reply_to="support@acme.com",
        ),
    )
    raw = mail.as_bytes()
    assert raw.isascii() and b"secret@" not in raw
    assert b"\n" not in raw.replace(b"\r\n", b"") and max(map(len, raw.splitlines())) <= 998
    again = message_from_bytes(raw, policy=policy.default)
    assert again["From"].addresses[0].display_name == 'Alice "A", at Acme'
    assert again["From"].addresses[0].addr_spec == "alice@acme.com"
    assert again["Cc"].addresses[0].display_name == "Jörg Ü."
    assert again["Subject"] == "Grüße an alle €"
    assert again["Reply-To"] == "support@acme.com"
    assert again["Message-ID"] == message_id
    assert message_id.endswith("@acme.com>")
    assert again["Date"].datetime.utcoffset().total_seconds() == 0
    assert again.get_content_type() == "multipart/alternative"
    parsed = parse_message(raw)
    assert parsed.text is not None and parsed.text.startswith("Hallo ß\n.\nFrom here\nxxx")
    assert (parsed.html or "").strip() == "<p>Hallo ß</p>"


def test_the_senders_name_is_quoted() -> None:
    mail, _ = build("alice@acme.com", message(from_name="Alice at Acme"))
    assert mail["From"] == "Alice at Acme <alice@acme.com>"


@pytest.mark.parametrize(("text", "html", "kind"), [("a", None, "plain"), (None, "<p>", "html")])
def test_one_body_is_enough(text: str | None, html: str | None, kind: str) -> None:
    mail, _ = build("alice@acme.com", message(text=text, html=html))
    assert mail.get_content_type() == f"text/{kind}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": "Hi\r\nBcc: x@y.com"}, "subject"),
        ({"subject": "Hi\0"}, "subject"),
        ({"subject": "a\x85b"}, "subject"),
        ({"from_name": "a\u2028b"}, "from_name"),
        ({"subject": "x" * 999}, "subject"),
        ({"subject": "\ud800"}, "subject"),
        ({"from_name": "A\nB"}, "from_name"),
        ({"reply_to": "a@b.com\r\nX: y"}, "reply_to"),
        ({"reply_to": "nobody"}, "reply_to"),
        ({"to": ("a@b.com\nX: y",)}, "to"),
        ({"to": ("a b@c.com",)}, "to"),
        ({"to": ("a@b",)}, "to"),
        ({"to": ("a..b@c.com",)}, "to"),
        ({"to": ("a@münchen.de",)}, "to"),
        ({"to": ("a@b.com, c@d.com",)}, "to"),
        ({"to": ("<a@b.com> <c@d.com>",)}, "to"),
        ({"to": ("a@[192.0.2.1]",)}, "to"),
        ({"to": ("x" * 65 + "@b.com",)}, "to"),
        ({"cc": ("@b.com",)}, "cc"),
        ({"bcc": ("a@",)}, "bcc"),
        ({"to": ()}, "to"),
        (
            {
                "to": tuple(f"u{n}@b.com" for n in range(60)),
                "cc": tuple(f"v{n}@b.com" for n in range(41)),
            },
            "to",
        ),
        ({"text": None}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"html": "\udc00"}, "html"),
    ],
)
def test_what_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        build("alice@acme.com", message(**changes))
    assert caught.value.field == field


def test_recipients_are_counted_once() -> None:
    outgoing = message(to=("A <a@b.com>", "c@d.com"), cc=("a@b.com",), bcc=("e@f.com",))
    assert recipients(outgoing) == ("a@b.com", "c@d.com", "e@f.com")
    with pytest.raises(Invalid):
        recipients(outgoing, max_recipients=2)


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_headers_never_break_out(subject: str, name: str, text: str) -> None:
    try:
        mail, _ = build("alice@acme.com", message(subject=subject, from_name=name, text=text))
    except Invalid:
        return
    raw = mail.as_bytes()
    again = message_from_bytes(raw, policy=policy.default)
    expected = ["from", "to", "subject", "date", "message-id", "mime-version"]
    content = ["content-type", "content-transfer-encoding"]
    assert sorted(key.lower() for key in again) == sorted(expected + content)
    assert again["From"].addresses[0].addr_spec == "alice@acme.com"
    assert b"\0" not in raw and b"\r\n.\r\n" not in raw.partition(b"\r\n\r\n")[0]


def test_a_probe() -> None:
    raw = build_probe("probe-1@mx1.fleetlab.net", "egress-abc@probe.fleetlab.net")
    mail = message_from_bytes(raw, policy=policy.default)
    assert mail["From"] == "probe-1@mx1.fleetlab.net"
    assert mail["Message-ID"].endswith("@mx1.fleetlab.net>")
    assert raw.isascii() and raw.count(b"\n") == raw.count(b"\r\n") and len(raw) < 1000
    with pytest.raises(ValueError, match="linefeed"):
        build_probe("a@b.com\r\nX: y", "c@d.com")
