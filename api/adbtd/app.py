"""The adbtd dialect as an application of its own."""

from functools import partial

from litestar import Litestar

from api.adbtd import (
    aliases,
    domains,
    ips,
    keys,
    logins,
    mailboxes,
    orders,
    receive,
    scheduled,
    send,
    templates,
    workspace,
)
from api.adbtd.errors import DOCUMENTED, EXCEPTION_HANDLERS
from api.adbtd.requests import StrictRequest, parse_id
from api.core import Core
from api.dialect import application
from orchestrator.services.keys import PREFIX

BASE_PATH = "/api/v1"

HANDLERS = [
    workspace.me,
    *keys.HANDLERS,
    *domains.HANDLERS,
    *ips.HANDLERS,
    *mailboxes.HANDLERS,
    *logins.HANDLERS,
    *aliases.HANDLERS,
    *send.HANDLERS,
    *scheduled.HANDLERS,
    *templates.HANDLERS,
    *receive.HANDLERS,
    *orders.HANDLERS,
]


def create_app(core: Core) -> Litestar:
    """The dialect's routes below ``BASE_PATH``."""
    return application(
        core,
        BASE_PATH,
        HANDLERS,
        request_class=StrictRequest,
        errors=(DOCUMENTED, EXCEPTION_HANDLERS),
        tokens=PREFIX,
        parse_mailbox=partial(parse_id, "mb"),
        title="Mailfleet",
        version="1",
        description="Domains, dedicated IPs and mailboxes; sending and reading mail.",
    )
