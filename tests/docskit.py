"""The pages of the documentation, and what stands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from labkit import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Commands that are looked for.
OURS = ("mailfleet", "reconcile")

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(^|\s)#\s.*$", re.MULTILINE)
_BEFORE = {"if", "then", "else", "do", "while", "until", "!", "{", "time"}


def name(page: Path) -> str:
    """How a page is called in messages."""
    return str(page.relative_to(ROOT))


def sections(page: Path) -> dict[str, str]:
    """The text under each of its headings, by heading; without what stands above the first."""
    parts = re.split(r"^##+ ", page.read_text(), flags=re.MULTILINE)[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


def fenced(text: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, such as ``sh``, in a text."""
    return [dedent(block) for _, found, block in _FENCED.findall(text) if found == kind]


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a kind in a page."""
    return fenced(page.read_text(), kind)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def headings(page: Path) -> set[str]:
    """What links to its headings say after the ``#``, as GitHub makes it."""
    lines = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def typed(block: str) -> str:
    """What is typed at the prompts of a ``console`` block."""
    lines = block.replace("\\\n", " ").splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# "))


def commands(script: str) -> Iterator[list[str]]:
    """The words of each command of ours in a shell script, without what stands in quotes."""
    bare = _COMMENT.sub(r"\1", script.replace("\\\n", " "))
    # The number of a descriptor would look like an argument.
    lexer = shlex.shlex(re.sub(r"\s\d(?=>)", " ", bare), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    named = False
    for token in [*lexer, ";"]:
        if token.strip("();<>|&\n"):
            if words or not (token in _BEFORE or re.match(r"[A-Za-z_]\w*=", token)):
                words.append(token)
            continue
        if words and words[0] in OURS and not named:
            yield words
        # What follows "<" and ">" is a file.
        words, named = [], not token.strip("<>")
