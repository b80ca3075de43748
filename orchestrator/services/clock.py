"""What a clock that was ahead has left behind: times that would keep subjects waiting for ever."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import InstrumentedAttribute
from sqlmodel import Session, col

from orchestrator.models import Address, BillingAccount, Domain, Host, Registration

#: Every time at which something comes due, by the settings' word for how often it does.
DUE: Mapping[str, tuple[object, ...]] = {
    "host": (Host.due_at,),
    "dns": (Host.dns_due_at, Domain.dns_due_at),
    "egress": (Address.egress_due_at,),
    "account": (BillingAccount.due_at,),
    "registration": (Registration.due_at,),
    "reputation": (Address.reputation_due_at,),
}


def set_right(session: Session, now: datetime, longest: Mapping[str, float]) -> None:
    """Make due now what is due later than anything could have been put off since.

    :param longest: seconds that something is put off for at most, by the names of ``DUE``.
    """
    for name, seconds in longest.items():
        limit = now + timedelta(seconds=seconds)
        for due in DUE[name]:
            assert isinstance(due, InstrumentedAttribute)
            late = update(due.class_).where(col(due) > limit).values({due.key: now})
            session.connection().execute(late)
