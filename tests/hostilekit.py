"""Text that means something to what it must never reach as it is."""

from hypothesis import strategies as st

#: With the characters that mean something to SMTP, maps, password files, paths and shells.
HOSTILE = st.text(
    st.one_of(st.sampled_from("\r\n\0 :%/\\'\"`$;|&<>@.,#{}*?\u2028\u0085"), st.characters()),
    max_size=40,
)


def quoted(text: str) -> str:
    """Every byte of it as a path may hold it."""
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace"))
