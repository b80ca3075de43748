"""/mailboxes/:id/send and /mailboxes/:id/send/batch: conversations with the mailbox's host.

They run in threads of their own, and no database transaction is open meanwhile.
"""

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from litestar import post
from litestar.params import FromPath, JSONBody

from api.adbtd import send_schemas as schemas
from api.adbtd import send_translate
from api.adbtd.outbox import Outbox
from api.adbtd.requests import FromCaller, FromCore
from api.adbtd.schemas import Data, Error
from api.auth import Caller
from api.core import Core
from orchestrator.errors import Invalid
from orchestrator.mail.types import Submission
from orchestrator.services.messages import Draft
from orchestrator.services.rights import Right

TAGS = ["Sending"]

MAX_BATCH = 100
#: Seconds after which no further message of a batch is begun.
BATCH_SECONDS = 120.0

Entry = tuple[Callable[[], Draft], datetime | None]


@post("/mailboxes/{mailbox_id:str}/send", status_code=200, tags=TAGS, right=Right.SEND)
async def send_message(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[schemas.SendMessage],
) -> Data[schemas.Sent | schemas.Scheduled]:
    """Submit a message through the mailbox's server, from its dedicated IP; now or at sendAt."""
    return Data(await core.talk(partial(_send, core, caller, mailbox_id, data)))


def _send(
    core: Core, caller: Caller, mailbox_id: str, data: schemas.SendMessage
) -> schemas.Sent | schemas.Scheduled:
    outbox = Outbox(core, caller, mailbox_id)
    done = outbox.send(outbox.written(data), data.send_at)
    if isinstance(done, Submission):
        return send_translate.sent(done)
    return send_translate.scheduled(done)


@post("/mailboxes/{mailbox_id:str}/send/batch", status_code=200, tags=TAGS, right=Right.SEND)
async def send_batch(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[schemas.SendBatch],
) -> Data[list[schemas.BatchResult]]:
    """Submit up to 100 messages; each has a result of its own, in their order."""
    return Data(await core.talk(partial(_send_batch, core, caller, mailbox_id, data)))


def _send_batch(
    core: Core, caller: Caller, mailbox_id: str, data: schemas.SendBatch
) -> list[schemas.BatchResult]:
    outbox = Outbox(core, caller, mailbox_id)
    results = []
    deadline = time.monotonic() + BATCH_SECONDS
    for index, (write, send_at) in enumerate(_entries(outbox, data)):
        if time.monotonic() < deadline:
            outcome = outbox.attempt(write, send_at)
        else:
            words = f"not tried: the messages before it took {BATCH_SECONDS:g} s"
            outcome = Error(code="smtp_error", message=words)
        results.append(send_translate.batch_result(index, outcome))
    return results


def _entries(outbox: Outbox, data: schemas.SendBatch) -> list[Entry]:
    if data.messages is not None:
        others = (data.template_id, data.recipients, data.from_name, data.reply_to)
        if any(other is not None for other in others):
            raise Invalid("messages stand alone: each has all of its fields", field="messages")
        _require_some(len(data.messages), "messages")
        return [
            (partial(outbox.written, message), message.send_at or data.send_at)
            for message in data.messages
        ]
    if data.template_id is None or data.recipients is None:
        raise Invalid("messages, or templateId with recipients, is required", field="messages")
    _require_some(len(data.recipients), "recipients")
    wanted = [
        (send_translate.draft_to(recipient, data), recipient.variables or {})
        for recipient in data.recipients
    ]
    drafts = outbox.filled(outbox.template(data.template_id), wanted)
    return [(draft, data.send_at) for draft in drafts]


def _require_some(count: int, field: str) -> None:
    if not 1 <= count <= MAX_BATCH:
        raise Invalid(f"{field} does not hold 1 to {MAX_BATCH} messages", field=field)


HANDLERS = [send_message, send_batch]
