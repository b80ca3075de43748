import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.mail.parsing import (
    MAX_PARTS,
    ParsedMessage,
    extract,
    parse_headers,
    parse_message,
)
from orchestrator.mail.types import AttachmentInfo

MIXED = b"""From: =?utf-8?q?J=C3=B6rg=2C_M=C3=BCller?= <joerg@acme.com>, lena@acme.com\r
To: undisclosed-recipients:;\r
Cc: "Max, Jr." <max@acme.com>\r
Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r
 =?utf-8?b?4oKs?=\r
Date: Sun, 3 May 2026 10:14:22 +0200\r
Message-ID: <1@acme.com>\r
Content-Type: multipart/mixed; boundary=a\r
\r
--a\r
Content-Type: multipart/alternative; boundary=b\r
\r
--b\r
Content-Type: text/plain; charset=iso-8859-15\r
Content-Transfer-Encoding: quoted-printable\r
\r
10 =A4\r
zwei\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<p>10 \xe2\x82\xac</p>\r
--b--\r
--a\r
Content-Type: application/pdf; name*=utf-8''%E2%82%AC.pdf\r
Content-Disposition: attachment\r
Content-Transfer-Encoding: base64\r
\r
SGVsbG8=\r
--a\r
Content-Type: image/png\r
Content-ID: <i1>\r
Content-Disposition: inline; filename="../../etc/passwd"\r
\r
x\r
--a\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
\r
text of the inner message\r
--a\r
Content-Type: text/plain\r
Content-Disposition: attachment\r
\r
notes\r
--a--\r
"""


def test_bodies_and_attachments() -> None:
    parsed = parse_message(MIXED)
    assert parsed.headers.sender == ('"Jörg, Müller" <joerg@acme.com>', "lena@acme.com")
    assert parsed.headers.cc == ('"Max, Jr." <max@acme.com>',)
    assert parsed.headers.subject == "Grüße€"
    assert parsed.headers.message_id == "<1@acme.com>"
    assert parsed.headers.date == datetime(2026, 5, 3, 8, 14, 22, tzinfo=UTC)
    assert parsed.text == "10 €\nzwei"
    assert parsed.html == "<p>10 €</p>"
    assert [(a.filename, a.content_type, a.content_id) for a in parsed.attachments] == [
        ("€.pdf", "application/pdf", None),
        ("passwd", "image/png", "<i1>"),
        (None, "message/rfc822", None),
        (None, "text/plain", None),
    ]
    assert [a.size for a in parsed.attachments if a.content_type != "message/rfc822"] == [5, 1, 5]


def test_every_attachment_is_given_as_it_is_told() -> None:
    told = parse_message(MIXED).attachments
    given = [extract(MIXED, number) for number in range(1, len(told) + 1)]
    assert [one and one.info for one in given] == list(told)
    assert [one and len(one.content) for one in given] == [info.size for info in told]
    contents = [one and one.content for one in given]
    assert contents[:2] == [b"Hello", b"x"]
    assert contents[2] == b"Subject: inner\r\n\r\ntext of the inner message"
    assert extract(MIXED, 0) is None and extract(MIXED, len(told) + 1) is None


def text_of(content: bytes, *headers: bytes) -> str | None:
    return parse_message(b"\r\n".join([*headers, b"", content])).text


@pytest.mark.parametrize(
    ("charset", "content", "text"),
    [
        (b"utf-8", "€".encode(), "€"),
        (b"utf-8", b"\xdf", "\ufffd"),
        (b"no-such-charset", "ß".encode(), "ß"),
        (b"no-such-charset", b"\xdf", "ß"),
        (b"us-ascii", "ß".encode(), "ß"),
        (b"zlib_codec", b"abc", "abc"),
        (b"unicode_escape", b"\\u0041", "\\u0041"),
        (b'""', b"abc", "abc"),
        (b"\xff\xfe", b"abc", "abc"),
        (b"utf-8", b"a\0b", "a\ufffdb"),
    ],
)
def test_charsets_fall_back(charset: bytes, content: bytes, text: str) -> None:
    assert text_of(content, b"Content-Type: text/plain; charset=" + charset) == text


@pytest.mark.parametrize(
    "date",
    [b"", b"yesterday", b"Sun, 99 May 2026 10:00:00 +0000", b"Fri, 31 Dec 9999 23:59:59 -2359"],
)
def test_malformed_dates_are_none(date: bytes) -> None:
    assert parse_headers(b"Date: " + date + b"\r\n\r\n").date is None


def test_a_date_without_a_zone_is_utc() -> None:
    headers = parse_headers(b"Date: Sun, 3 May 2026 10:14:22 -0000\r\n\r\n")
    assert headers.date == datetime(2026, 5, 3, 10, 14, 22, tzinfo=UTC)


def test_headers_in_raw_utf8_are_read() -> None:
    headers = parse_headers("Subject: Grüße\r\nFrom: Jörg <j@a.com>\r\n\r\n".encode())
    assert (headers.subject, headers.sender) == ("Grüße", ("Jörg <j@a.com>",))


def test_addresses_that_cannot_be_parsed_are_shown() -> None:
    assert parse_headers(b"From: (((\r\n\r\n").sender == ("(((",)
    assert parse_headers(b"\r\n").sender == ()


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(depth)
    )
    return head + b"\r\ndeep\r\n"


def test_deep_nesting_ends_in_an_attachment() -> None:
    assert text_of(b"shallow") == "shallow"
    assert parse_message(nested(40)).text is not None
    parsed = parse_message(nested(60))
    assert parsed.text is None
    assert [a.content_type for a in parsed.attachments] == ["multipart/mixed"]


def test_too_many_parts_are_summed_up() -> None:
    parts = b"".join(b"--a\r\nContent-Type: image/png\r\n\r\n1234\r\n" for _ in range(600))
    parsed = parse_message(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + parts + b"--a--")
    # The multipart itself is a part.
    assert len(parsed.attachments) == MAX_PARTS
    assert parsed.attachments[-1].content_type == "application/octet-stream"
    assert sum(a.size for a in parsed.attachments) == 4 * 600


@pytest.mark.parametrize("depth", [2_000, 20_000])
def test_hostile_nesting_takes_no_time(depth: int) -> None:
    raw = nested(depth) + b"x\r\n" * 200_000
    before = time.process_time()
    parsed = parse_message(raw)
    # Not a benchmark: without the bound this takes minutes.
    assert time.process_time() - before < 20
    assert parsed.attachments == (AttachmentInfo(None, "message/rfc822", len(raw), None),)


def test_what_is_beyond_the_limit_is_ignored() -> None:
    assert parse_message(b"Subject: a\r\n\r\n" + b"x" * 100, max_bytes=24).text == "x" * 10


HEADERS = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a",
        b'Content-Type: multipart/alternative; boundary="a"',
        b"Content-Type: multipart/mixed",
        b"Content-Type: message/rfc822",
        b"Content-Type: message/delivery-status",
        b"Content-Type: message/partial",
        b"Content-Type: text/plain; charset*=x''%ff; charset*0*=y'%",
        b"Content-Type: text/html; charset=utf-16",
        b"Content-Type: text/plain; charset=idna",
        b"Content-Type: ;;;=",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: x-uuencode",
        b"Content-Transfer-Encoding: quoted-printable",
        b"Content-Disposition: attachment; filename*0*=utf-8''%; filename*1=x",
        b"Content-Disposition: attachment; filename==?utf-8?b?!!!?=",
        b"Subject: =?utf-8?b?4oKs=?= =?x?q?=ff?= =?utf-8?b?a?=",
        b"From: " + b"(" * 5000,
        b'To: a:b:c;;<@>,"\\',
        b"Date: Sun, 3 May 99999 99:99:99 +9999",
        b": no name",
        b"",
        b"--a",
        b"--a--",
        b"begin 644 x",
        b"SGVsbG8",
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(HEADERS | st.binary(max_size=40), max_size=30),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
)
def test_nothing_makes_it_raise(lines: list[bytes], end: bytes) -> None:
    raw = end.join(lines)
    for number, info in enumerate(parse_message(raw).attachments, 1):
        part = extract(raw, number)
        assert part is not None and part.info == info and len(part.content) == info.size
    for parsed in (parse_message(raw), parse_headers(raw)):
        if isinstance(parsed, ParsedMessage):
            shown = [parsed.text, parsed.html, *(a.filename for a in parsed.attachments)]
        else:
            shown = [parsed.subject, parsed.message_id, *parsed.sender, *parsed.to]
        for text in shown:
            # Storable and presentable: valid Unicode without NUL.
            assert text is None or "\0" not in text.encode().decode()


@pytest.mark.parametrize("name", [b"Content-Type", b"Content-Disposition", b"From", b"Subject"])
@pytest.mark.parametrize("value", [b":;", b"(", b'"', b"=?utf-8?q?a?= ", b"a@b.com,", b"\\<"])
def test_hostile_headers_take_no_time(name: bytes, value: bytes) -> None:
    before = time.process_time()
    parse_message(name + b": text/plain; " + value * 500_000 + b"\r\n\r\nx")
    # Not a benchmark: without the bound some of these take minutes.
    assert time.process_time() - before < 20
