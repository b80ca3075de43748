"""What the documentation says exists: conditions, settings, routes, commands, pages, layers."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docskit
import msgspec
import pytest
import rich_click as click
from docskit import PAGES
from labkit import ROOT
from litestar import Litestar
from litestar.routes import HTTPRoute

from api import adbtd, billing, metrics, operator, unmta
from api.core import Core
from orchestrator import settings
from orchestrator.cli import mailfleet, reconcile
from orchestrator.conditions import REMEDIES, Reason, Type
from orchestrator.settings import BUILT_IN_TEMPLATES, Settings

DOCS = ROOT / "docs"
SECTIONS = docskit.sections(DOCS / "conditions.md")
ENTRIES: dict[str, click.Command] = {"mailfleet": mailfleet, "reconcile": reconcile}


def one_line(text: str) -> str:
    return " ".join(text.split())


def read(page: str) -> str:
    return (DOCS / page).read_text()


each_page = pytest.mark.parametrize("page", PAGES, ids=docskit.name)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_explained_with_its_remedy(reason: Reason) -> None:
    assert one_line(REMEDIES[reason]) in one_line(SECTIONS[reason])


@pytest.mark.parametrize("type_", Type)
def test_a_condition_is_in_the_table_of_types(type_: Type) -> None:
    rows = [line for line in read("conditions.md").splitlines() if line.startswith("| ")]
    assert any(f"`{type_}`" in row for row in rows)


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_a_setting_is_in_the_reference_with_its_default(field: Any) -> None:
    assert f"\n| `{field.name}` | {_told(field.default)} | " in read("settings.md")


def _told(default: object) -> str:
    if default is None:
        return "unset"
    if default == BUILT_IN_TEMPLATES:
        return "built in"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{part}"' for part in default) + "]`"
    return f"`{default:.10g}`" if isinstance(default, int | float) else f'`"{default}"`'


def test_the_reference_names_settings_only() -> None:
    named = re.findall(r"^\| `(\w+)` \|", read("settings.md"), re.MULTILINE)
    assert sorted(named) == sorted(field.name for field in msgspec.structs.fields(Settings))


@each_page
def test_settings_in_the_text_are_settings(page: Path, tmp_path: Path) -> None:
    for block in docskit.blocks(page, "toml"):
        (tmp_path / "mailfleet.toml").write_text(block)
        settings.load(tmp_path / "mailfleet.toml", {})


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(Settings(database_url=f"sqlite:///{tmp_path / 'mailfleet.db'}"))
    yield made
    made.close()


def _routes(app: Litestar, *, base: str = "", braces: bool = False) -> set[str]:
    found = set()
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or "/docs" in route.path_format:
            continue
        path = route.path_format.removeprefix(base)
        if not braces:
            path = re.sub(r"\{\w+_id\}", ":id", path)
            path = re.sub(r"\{(\w+)\}", r":\1", path)
        found |= {f"{method} {path}" for method in route.methods - {"OPTIONS"}}
    return found


def test_every_route_of_a_dialect_is_in_its_guide(core: Core) -> None:
    stripe = _routes(billing.create_app(core))
    guides = {
        "api-native.md": _routes(adbtd.create_app(core), base=adbtd.BASE_PATH) | stripe,
        "api-unmta.md": _routes(unmta.create_app(core), braces=True),
        "api-operator.md": _routes(operator.create_app(core))
        | _routes(metrics.create_app(core))
        | stripe
        | {"GET /healthz"},
    }
    for page, routes in guides.items():
        text = docskit.prose(DOCS / page)
        named = re.findall(r"\b(?:GET|POST|PUT|PATCH|DELETE) /[\w/:{}-]*", text)
        assert set(named) == routes, page


def _leaves(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    if command.invoke_without_command:
        yield " ".join(words)
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        # It is an entry of its own.
        if inner is not None and inner is not reconcile:
            yield from _leaves(inner, (*words, name))


def test_every_command_is_mentioned() -> None:
    everything = one_line(" ".join(page.read_text() for page in PAGES))
    leaves = [leaf for name, entry in ENTRIES.items() for leaf in _leaves(entry, (name,))]
    assert len(leaves) > 50
    assert not [leaf for leaf in leaves if leaf not in everything]


def _check(words: list[str], *, whole: bool) -> None:
    """See that a command line could be parsed; values are not looked at.

    :param whole: whether nothing may be missing and nothing be too much.
    """
    command, rest = ENTRIES[words[0]], words[1:]
    while True:
        context = click.Context(command, info_name=words[0], **command.context_settings)
        given, rest, _ = command.make_parser(context).parse_args(rest)
        if not isinstance(command, click.Group):
            break
        if not rest:
            assert command.invoke_without_command or not whole, "it is a group"
            return
        inner = command.get_command(context, rest[0])
        assert inner is not None, f"there is no command {rest[0]}"
        command, rest = inner, rest[1:]
    assert not whole or not rest, f"too much: {rest}"
    needed = [p for p in command.params if p.required and p.value_is_missing(given.get(p.name))]
    assert not whole or not needed, f"missing: {needed}"


@each_page
def test_the_commands_of_a_page_exist(page: Path) -> None:
    typed = [docskit.typed(block) for block in docskit.blocks(page, "console")]
    inline = re.findall(r"`([^`]+)`", docskit.prose(page))
    found = [(words, True) for text in typed for words in docskit.commands(text)]
    found += [
        (words, True) for text in docskit.blocks(page, "sh") for words in docskit.commands(text)
    ]
    found += [(one_line(text).split(), False) for text in inline if text.startswith(docskit.OURS)]
    for words, whole in found:
        if words[0] not in ENTRIES:
            continue
        try:
            _check(words, whole=whole)
        except (click.UsageError, AssertionError) as error:
            raise AssertionError(f"{docskit.name(page)}: {' '.join(words)}: {error}") from None


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", docskit.prose(page))
    assert not [target for target in targets if not _leads_somewhere(page, target)]


def _leads_somewhere(page: Path, target: str) -> bool:
    if target.startswith(("https://", "http://")):
        return True
    path, _, heading = target.partition("#")
    led = (page.parent / path).resolve() if path else page
    return led.exists() and (not heading or heading in docskit.headings(led))


def test_the_index_names_every_page() -> None:
    index = read("README.md")
    assert not [p.name for p in DOCS.glob("*.md") if p.name not in index]


def test_the_layers_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    wanted = [{part.strip().removeprefix("orchestrator.") for part in x.split("|")} for x in layers]
    drawn = docskit.blocks(DOCS / "architecture.md", "text")[-1].splitlines()
    assert [{part.strip() for part in line.split("│")} for line in drawn] == wanted
