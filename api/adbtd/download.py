"""Files that strangers sent, answered so that no browser takes them for a page of ours."""

import re
from urllib.parse import quote

from litestar import Response

from orchestrator.mail.types import AttachmentInfo

# RFC 6838 section 4.2; what isn't such a name could end the header.
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_UNSAFE = re.compile(r'[^ -~]|["\\%]')
#: Beyond this, header limits of clients and proxies come near.
_MAX_NAME = 150


def download(info: AttachmentInfo, content: bytes) -> Response[bytes]:
    """The octets, to be saved under the name that they came with."""
    known = _TYPE.fullmatch(info.content_type) is not None
    return Response(
        content,
        media_type=info.content_type if known else "application/octet-stream",
        headers={
            "Content-Disposition": _disposition(info.filename or "attachment"),
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, no-store",
        },
    )


def _disposition(name: str) -> str:
    """RFC 6266: a plain name for old clients, and the real one (RFC 8187)."""
    short = name[:_MAX_NAME]
    plain = _UNSAFE.sub("_", short)
    encoded = quote(short, safe="!#$&+-.^_`|~", encoding="utf-8", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
