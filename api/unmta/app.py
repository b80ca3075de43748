"""The unMTA dialect as an application of its own."""

from uuid import UUID

from litestar import Litestar

from api.core import Core
from api.dialect import application
from api.unmta import clusters, credentials, domains
from api.unmta.errors import DOCUMENTED, EXCEPTION_HANDLERS
from api.unmta.requests import CheckedRequest
from orchestrator.errors import NotFound
from orchestrator.services import keys

BASE_PATH = "/api/v1/clusters"

HANDLERS = [*clusters.HANDLERS, *domains.HANDLERS, *credentials.HANDLERS]


def create_app(core: Core) -> Litestar:
    """The dialect's routes below ``BASE_PATH``."""
    return application(
        core,
        BASE_PATH,
        HANDLERS,
        request_class=CheckedRequest,
        errors=(DOCUMENTED, EXCEPTION_HANDLERS),
        tokens=keys.USER_PREFIX,
        parse_mailbox=_no_mailbox,
        title="Mailfleet: clusters",
        version="1",
        description="Clusters of mail servers, their domains and SMTP credentials.",
    )


def _no_mailbox(_: str) -> UUID:
    raise NotFound("clusters have no mailboxes")
