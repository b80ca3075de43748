"""A client that a stranger generates from the API's description sends mail and fetches it."""

import importlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import BIN, MAILBOXES, Tenant, wait_for

pytestmark = pytest.mark.lab

PACKAGE = "mailfleet_client"


@pytest.fixture(scope="module")
def package(tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The generated package, importable."""
    directory: Path = tmp_path_factory.mktemp("client")
    description = directory / "openapi.json"
    description.write_text(tenant.call("GET", "/docs/openapi.json").text)
    target = directory / PACKAGE
    options: list[str | Path] = ["--meta", "none", "--fail-on-warning", "--path", description]
    subprocess.run(
        [BIN / "openapi-python-client", "generate", *options, "--output-path", target],
        check=True,
        timeout=300,
        # It tidies up with ruff where that is found.
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(directory))
        yield target
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def operation(package: Path, name: str) -> Callable[..., Any]:
    """The function that calls an operation, wherever the generator has put it."""
    (path,) = package.glob(f"api/*/{name}.py")
    module = importlib.import_module(f"{PACKAGE}.api.{path.parent.name}.{name}")
    call: Callable[..., Any] = module.sync
    return call


def test_it_sends_and_fetches(package: Path, tenant: Tenant) -> None:
    generated = importlib.import_module(PACKAGE)
    models = importlib.import_module(f"{PACKAGE}.models")
    scheme, _, token = tenant.client.headers["Authorization"].partition(" ")
    base = str(tenant.client.base_url).partition("/api/v1")[0]
    subject = f"generated {uuid.uuid4().hex} — grüße"
    with generated.AuthenticatedClient(base_url=base, token=token, prefix=scheme) as client:

        def call(name: str, *arguments: Any, **values: Any) -> Any:
            return operation(package, name)(*arguments, client=client, **values).data

        boxes = {box.email: box for box in call("list_mailboxes")}
        sender, receiver = boxes[MAILBOXES["mx1"]], boxes[MAILBOXES["mx2"]]
        body = models.SendMessage(to=receiver.email, subject=subject, text="naïve")
        sent = call("send_message", sender.id, body=body)
        assert sent.accepted == [receiver.email]

        def look() -> Any:
            page = call("list_messages", receiver.id)
            return next((row for row in page.messages if row.subject == subject), None)

        found = wait_for("the message", look)
        assert found.message_id == sent.message_id
        message = call("fetch_message", receiver.id, found.uid)
        assert message.text.strip() == "naïve"
        refused = operation(package, "get_mailbox")("mb_none", client=client)
        assert refused.error.code == "not_found"
