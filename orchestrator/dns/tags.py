"""Tag lists such as ``v=DKIM1; k=rsa; p=…`` (RFC 6376 section 3.2, RFC 7489 section 6.3)."""

import re

_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def parse_tags(text: str) -> dict[str, str] | None:
    """The tags in order, whitespace around names and values removed; ``None`` if malformed.

    A repeated tag makes the whole list malformed (RFC 6376 section 3.2).
    """
    tags: dict[str, str] = {}
    for part in text.strip().removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not _TAG.fullmatch(name) or name in tags:
            return None
        tags[name] = value.strip()
    return tags
