"""The template sets: texts by name, wherever they came from, and what Jinja makes of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined

from orchestrator.errors import ConfigurationError
from orchestrator.hostspec import OsName
from orchestrator.rendering import filters
from orchestrator.settings import BUILT_IN_TEMPLATES

SUFFIX = ".j2"
OSES: tuple[OsName, ...] = ("debian12", "debian13")


@dataclass(frozen=True, eq=False)
class TemplateSet:
    """Texts by name: the path of what they make, below an ``OsName`` where only that has it."""

    texts: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all names and texts, as 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(sorted(self.texts.items())).encode()).hexdigest()

    @cached_property
    def environments(self) -> dict[OsName, Environment]:
        """What renders them for each Debian, compiled at first use."""
        return {os: self._environment(os) for os in OSES}

    def _environment(self, os: OsName) -> Environment:
        own = {
            name.removeprefix(f"{os}/"): text
            for name, text in self.texts.items()
            if name.startswith(f"{os}/")
        }
        environment = Environment(
            loader=DictLoader({**self.texts, **own}),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - escaping is for HTML; here the filters refuse
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(filters.FILTERS)
        return environment


def read(directory: Path) -> TemplateSet:
    """Read all templates below a directory.

    :raises ConfigurationError: when it can't be read or holds none.
    """
    try:
        texts = {
            str(path.relative_to(directory)): path.read_text()
            for path in directory.rglob(f"*{SUFFIX}")
        }
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the templates in {directory} can't be read: {error}") from None
    if not texts:
        raise ConfigurationError(f"there are no templates in {directory}")
    return TemplateSet(texts)


@cache
def built_in() -> TemplateSet:
    """The templates that come with Mailfleet."""
    return read(BUILT_IN_TEMPLATES)
