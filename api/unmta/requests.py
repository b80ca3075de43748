"""A request's body, checked field by field: the client learns of all that is wrong at once."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec import inspect

from api.requests import JsonRequest
from orchestrator.errors import Invalid

#: How many faults of one body are told: the answer must not be larger than what was sent.
MOST = 100

#: What a value of each type of JSON must be.
_KINDS: dict[type[inspect.Type], tuple[type[Any], str]] = {
    inspect.StrType: (str, "a string"),
    inspect.BoolType: (bool, "true or false"),
    inspect.ListType: (list, "an array"),
}


class Faulty(Invalid):
    """Several fields are wrong; ``faults`` says of each why."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(faults.values()))
        self.faults = faults


class CheckedRequest(JsonRequest):
    """Decodes a JSON body to the struct that its handler takes."""

    async def json(self) -> Any:
        """The decoded body.

        :raises Invalid: when it is no JSON object.
        :raises Faulty: when fields are missing, unknown or of another type.
        """
        body = await self.decoded(Any)
        if not isinstance(body, dict):
            raise Invalid("the request body is not a JSON object", field="body")
        faults = dict(islice(_faults(self.shape, body), MOST))
        if faults:
            raise Faulty(faults)
        return msgspec.convert(body, self.shape)


def spoken(field: str) -> str:
    """A field's name as it stands in a sentence."""
    return field.replace("_", " ")


def _faults(shape: Any, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    described = inspect.type_info(shape)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        name = field.encode_name
        if field.required and body.get(name) in (None, ""):
            yield name, f"The {spoken(name)} field is required."
        elif name in body:
            yield from _mistyped(name, field.type, body[name])
    known = {field.encode_name for field in described.fields}
    for name in body:
        if name not in known:
            yield name, f"The {name} field is unknown."


def _mistyped(name: str, wanted: inspect.Type, value: Any) -> Iterator[tuple[str, str]]:
    kind, called = _KINDS[type(wanted)]
    if not isinstance(value, kind):
        yield name, f"The {spoken(name)} field must be {called}."
    elif isinstance(wanted, inspect.ListType):
        for number, item in enumerate(value):
            yield from _mistyped(f"{name}.{number}", wanted.item_type, item)
