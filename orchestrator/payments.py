"""Has tenants pay for what they have: nothing is ordered without a payment method.

The payment service is asked outside every transaction; what it answered is written down then.
"""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine

from orchestrator.backoff import delay
from orchestrator.billing.biller import Biller, Kind, Standing
from orchestrator.db import reading, writing
from orchestrator.errors import Away, ConfigurationError, Conflict, PaymentRequired
from orchestrator.models import BillingAccount, Workspace, utcnow
from orchestrator.services import billing
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between two looks where nothing has changed, and the longest wait after failures.
LOOK = 3600.0
LONGEST = 900.0
#: A checkout page is handed out again as long as it is good for this much longer.
LEFT = timedelta(minutes=30)

_WORDS = {
    Standing.NO_PAYMENT_METHOD: "the workspace has no saved payment method",
    Standing.PAST_DUE: "the workspace's last invoice could not be paid",
}


class Payments:
    """Sees to the workspaces' accounts.

    :param biller: the payment service; None where everything counts as paid.
    """

    def __init__(self, engine: Engine, biller: Biller | None) -> None:
        self._engine = engine
        self.biller = biller

    def require(self, workspace: Workspace) -> None:
        """Let a workspace that can pay go on with its order.

        :raises PaymentRequired: with a page on which to leave a payment method.
        :raises Away: when the payment service can't be asked.
        """
        if self.biller is None:
            return
        row = self._account(self.biller, workspace)
        if row.standing is not Standing.GOOD:
            # A payment method may have been left a moment ago.
            row = self._settle(self.biller, row)
        if row.standing is not Standing.GOOD:
            url = self._checkout(self.biller, row, workspace)
            raise PaymentRequired(_WORDS[row.standing], checkout_url=url)

    def settle(self, account_id: UUID) -> None:
        """Have the workspace charged for what it has now."""
        with reading(self._engine) as session:
            row = session.get(BillingAccount, account_id)
        if row is None or self.biller is None:
            return
        try:
            self._settle(self.biller, row)
        except Away as error:
            log.warning("the account %s is not settled: %s", row.customer, error)
            wait = timedelta(seconds=delay(row.failures + 1, longest=LONGEST))
            with writing(self._engine) as session:
                billing.failed(session, row, str(error), utcnow() + wait)

    def _account(self, biller: Biller, workspace: Workspace) -> BillingAccount:
        with reading(self._engine) as session:
            row = billing.account(session, workspace)
        if row is not None:
            return row
        customer = biller.open(workspace.id.hex, workspace.name)
        try:
            with writing(self._engine) as session:
                return billing.open_(session, workspace, customer)
        except Conflict:
            return self._account(biller, workspace)

    def _settle(self, biller: Biller, row: BillingAccount) -> BillingAccount:
        with reading(self._engine) as session:
            quantities = billing.quantities(session, row.workspace_id)
        told = biller.settle(row.customer, quantities)
        with writing(self._engine) as session:
            return billing.settled(session, row, told, utcnow() + timedelta(seconds=LOOK))

    def _checkout(self, biller: Biller, row: BillingAccount, workspace: Workspace) -> str:
        if row.checkout_url and row.checkout_until and row.checkout_until > utcnow() + LEFT:
            return row.checkout_url
        made = biller.checkout(row.customer, workspace.currency)
        with writing(self._engine) as session:
            billing.offered(session, row.id, made)
        return made.url


def from_settings(engine: Engine, settings: Settings) -> Payments:
    """The payments of this installation.

    :raises ConfigurationError: when the payment service lacks a setting or a secret.
    """
    if settings.billing == "none":
        return Payments(engine, None)
    # Only who needs it pays for loading Stripe's SDK: a quarter of a second for each command.
    from orchestrator.billing.stripe import Stripe

    if not settings.billing_return_url.startswith(("https://", "http://")):
        raise ConfigurationError("billing_return_url is not a URL")
    prices = {
        Kind.DOMAIN: settings.stripe_price_domain,
        Kind.ADDRESS: settings.stripe_price_ip,
        Kind.MAILBOX: settings.stripe_price_mailbox,
    }
    return Payments(
        engine,
        Stripe(
            settings.secret("stripe_key_file"),
            settings.secret("stripe_webhook_secret_file"),
            prices,
            settings.billing_return_url,
            settings.stripe_api_url,
        ),
    )
