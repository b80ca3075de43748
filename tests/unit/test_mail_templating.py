"""Tenants' templates: what they may say, and that they reach and hold nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.confined import Confined
from orchestrator.errors import Invalid
from orchestrator.mail.templating import MAX_OUTPUT, Rendered, Source, TemplateError, check, render
from orchestrator.services import templates


def filled(source: Source, **variables: Any) -> Rendered | TemplateError:
    (made,) = render(source, [json.dumps(variables).encode()])
    return made


def words(text: str, **variables: Any) -> str:
    made = filled(Source("s", text, None), **variables)
    assert isinstance(made, TemplateError)
    return str(made)


def test_only_html_is_escaped() -> None:
    source = Source("Hi {{ name }}", "{{ name }}\n", "<b>{{ name }}</b>{{ safe|safe }}")
    assert filled(source, name="A & <B>", safe="<i>") == Rendered(
        "Hi A & <B>", "A & <B>\n", "<b>A &amp; &lt;B&gt;</b><i>"
    )


def test_each_recipient_has_an_outcome_of_its_own() -> None:
    made = render(Source("{{ n }}", "x", None), [b'{"n": 1}', b"{}", b'{"n": 3}'])
    assert [getattr(one, "subject", None) for one in made] == ["1", None, "3"]
    assert str(made[1]) == "subject: 'n' is undefined"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{% for %}", 1),
        ("\n\n{{ x", 3),
        ("{% endif %}", 1),
        ("a\n{% include 'x' %}", 2),
        ("{% import 'x' as x %}", 1),
        ("{% from 'x' import y %}", 1),
        ("{% extends 'x' %}", 1),
        ("{{ x|nosuch }}", 1),
    ],
)
def test_what_is_no_template_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(TemplateError, match=f"html, line {line}: "):
        check(Source("s", None, text))


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range(10**9)|list }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ x.append(1) }}",
        "{{ lipsum() }}",
        "{{ 1/0 }}",
    ],
)
def test_what_a_template_may_not(text: str) -> None:
    assert words(text, x=[1]).startswith("text: ")


def test_what_it_gives_is_bounded() -> None:
    assert "larger" in words("{% for a in range(2000) %}{{ 'x' * 1000 }}{% endfor %}")
    assert isinstance(filled(Source("s", "x" * MAX_OUTPUT, None)), TemplateError)


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    made = Confined(workers=1)
    yield made
    made.close()


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{{ ('x' * n) * n }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%999999999999d' % 1 }}",
    ],
)
def test_no_template_holds_the_process(confined: Confined, text: str) -> None:
    with pytest.raises(Invalid, match="template"):
        templates.render(confined, Source("s", text, None), {"n": 10**5})
    assert templates.render(confined, Source("s", "t", None), {}).text == "t"


def test_a_subject_is_one_line(confined: Confined) -> None:
    with pytest.raises(Invalid, match="control character"):
        templates.render(confined, Source("{{ x }}", "t", None), {"x": "a\r\nBcc: b@c.com"})
