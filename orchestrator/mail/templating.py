"""Tenants' own templates (Jinja2). To be called in a process that may be killed: see ``confined``.

Even a sandboxed template can loop for ever, or ask for more memory than there is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

#: Characters that one rendering may hold, all parts together; and all renderings of one call.
MAX_OUTPUT = 1024 * 1024
MAX_TOTAL = 16 * 1024 * 1024
#: Characters of an error's words: they may quote the template, or what it was given.
_MAX_WORDS = 300
_LOADING: tuple[type[nodes.Node], ...] = (
    nodes.Extends,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
)


class TemplateError(Exception):
    """What is wrong with the template, or with what it was given, in words for its author."""


@dataclass(frozen=True)
class Source:
    """The parts of a template; ``text`` or ``html`` or both are set."""

    subject: str
    text: str | None
    html: str | None


@dataclass(frozen=True)
class Rendered:
    """The parts of a message that a template gave."""

    subject: str
    text: str | None
    html: str | None


def check(source: Source) -> None:
    """Raise ``TemplateError`` when a part isn't a template, with the line."""
    _Compiled(source)


def render(source: Source, variables: Sequence[bytes]) -> list[Rendered | TemplateError]:
    """Fill the template once for each of ``variables`` (JSON objects).

    One that can't be filled is a ``TemplateError`` in its place; raised for all of them when the
    template itself is wrong.
    """
    compiled = _Compiled(source)
    filled: list[Rendered | TemplateError] = []
    for given in variables:
        try:
            filled.append(compiled.fill(given))
        except TemplateError as error:
            filled.append(error)
    return filled


class _Compiled:
    def __init__(self, source: Source) -> None:
        self._left = MAX_TOTAL
        self._parts = {
            name: None if text is None else _compiled(name, text)
            for name, text in (
                ("subject", source.subject),
                ("text", source.text),
                ("html", source.html),
            )
        }

    def fill(self, variables: bytes) -> Rendered:
        room = min(MAX_OUTPUT, self._left)
        given = msgspec.json.decode(variables)
        made: dict[str, str | None] = {}
        for name, generate in self._parts.items():
            made[name] = None if generate is None else _filled(name, generate(given), room)
            room -= len(made[name] or "")
            self._left -= len(made[name] or "")
        return Rendered(made["subject"] or "", made["text"], made["html"])


def _compiled(name: str, text: str) -> Callable[..., Iterator[str]]:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=name == "html",
        keep_trailing_newline=name != "subject",
    )
    environment.globals = {"range": safe_range, "dict": dict}
    with _explained(name):
        try:
            tree = environment.parse(text)
            found = next((node for kind in _LOADING for node in tree.find_all(kind)), None)
            if found is not None:
                kind = type(found).__name__.lower()
                raise TemplateError(f"{name}, line {found.lineno}: {kind} is not available")
            return environment.from_string(text).generate
        except TemplateSyntaxError as error:
            words = f"{name}, line {error.lineno}: {error.message}"
            raise TemplateError(words[:_MAX_WORDS]) from None


def _filled(name: str, chunks: Iterator[str], room: int) -> str:
    with _explained(name):
        parts = []
        for chunk in chunks:
            room -= len(chunk)
            if room < 0:
                raise TemplateError(f"{name}: what it gives is larger than {MAX_OUTPUT} characters")
            parts.append(chunk)
        return "".join(parts)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Whatever a template raises is its author's affair, but for its want of memory."""
    try:
        yield
    except (TemplateError, MemoryError):
        raise
    except Exception as error:
        words = f"{name}: {str(error) or type(error).__name__}"
        raise TemplateError(words[:_MAX_WORDS]) from None
