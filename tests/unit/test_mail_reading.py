"""What is shown and given of a message that was fetched. IMAP itself is tested in the lab."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.adbtd.download import download
from orchestrator.confined import Confined
from orchestrator.errors import NotFound
from orchestrator.mail import reading
from orchestrator.mail.reading import Source
from orchestrator.mail.types import AttachmentInfo

SMALL = b"Subject: a\r\n\r\nb"
LARGE = (
    b"Subject: large\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\ntext\r\n"
    b"--a\r\nContent-Type: application/pdf; name=x.pdf\r\n\r\n" + b"x" * 100_000 + b"\r\n--a--\r\n"
)


def source(content: bytes) -> Source:
    return Source(content, 7, ("\\Seen",), len(content), None)


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    made = Confined(workers=1)
    yield made
    made.close()


def test_large_and_small_messages_are_shown_alike(confined: Confined) -> None:
    small, large = (reading.detail(confined, source(raw)) for raw in (SMALL, LARGE))
    assert (small.summary.subject, small.text, small.attachments) == ("a", "b", ())
    assert (large.summary.subject, large.text) == ("large", "text")
    assert large.attachments == (AttachmentInfo("x.pdf", "application/pdf", 100_000, None),)
    assert reading.attachment(confined, source(LARGE), 1).content == b"x" * 100_000
    for number in (0, 2):
        with pytest.raises(NotFound, match="no attachment"):
            reading.attachment(confined, source(LARGE), number)


def test_what_can_not_be_parsed_in_time_is_one_attachment(
    confined: Confined, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seconds of work for the parser.
    slow = LARGE + b"x\r\n" * 4_000_000
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_PARSE_SECONDS", 0.2)
        shown = reading.detail(confined, source(slow))
        assert (shown.summary.subject, shown.text, shown.html) == ("large", None, None)
        assert shown.attachments == (AttachmentInfo(None, "message/rfc822", len(slow), None),)
        assert reading.attachment(confined, source(slow), 1).content == slow
        with pytest.raises(NotFound):
            reading.attachment(confined, source(slow), 2)
    assert reading.detail(confined, source(LARGE)).text == "text"


@pytest.mark.parametrize(
    ("name", "kind", "disposition", "media_type"),
    [
        (None, "text/html", "filename=\"attachment\"; filename*=UTF-8''attachment", "text/html"),
        (
            'grö"ße.pdf',
            "application/pdf",
            "filename=\"gr___e.pdf\"; filename*=UTF-8''gr%C3%B6%22%C3%9Fe.pdf",
            "application/pdf",
        ),
        ("a\r\nX: y", "x\r\ny/z", None, "application/octet-stream"),
    ],
)
def test_a_download_is_never_taken_for_a_page(
    name: str | None, kind: str, disposition: str | None, media_type: str
) -> None:
    answer = download(AttachmentInfo(name, kind, 1, None), b"x")
    assert answer.media_type == media_type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if disposition is not None:
        assert answer.headers["Content-Disposition"] == f"attachment; {disposition}"


@given(st.text(), st.text())
def test_no_name_or_type_breaks_the_header(name: str, kind: str) -> None:
    answer = download(AttachmentInfo(name, kind, 1, None), b"x")
    value = answer.headers["Content-Disposition"]
    assert value.startswith("attachment; ") and value.isascii() and value.isprintable()
    assert str(answer.media_type).isascii() and str(answer.media_type).isprintable()
