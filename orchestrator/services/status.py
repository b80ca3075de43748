"""Public statuses, derived from rows and conditions; stored nowhere."""

from typing import Literal

from orchestrator.conditions import Reason, Status, Type
from orchestrator.models import Condition, Domain, Host, Mailbox
from orchestrator.services.conditions import Observed

DomainStatus = Literal["verified", "pending", "failed"]
MailboxStatus = Literal["active", "provisioning", "suspended"]


def domain_status(domain: Domain, observed: Observed) -> DomainStatus:
    """Whether the workspace's ownership was seen in DNS.

    Failed when the domain is another's, or could not be bought.
    """
    bought = observed.get((domain.id, Type.REGISTERED))
    if bought is not None and bought.reason is Reason.REGISTRATION_FAILED:
        return "failed"
    match domain, observed.get((domain.id, Type.OWNERSHIP_PROVEN)):
        case Domain(verified_at=None), Condition(reason=Reason.CLAIMED_ELSEWHERE):
            return "failed"
        case Domain(verified_at=None), _:
            return "pending"
        case _:
            return "verified"


def holds(domain: Domain, type_: Type, observed: Observed) -> bool:
    """Whether the condition was True when it was last seen; a time-out changes nothing."""
    condition = observed.get((domain.id, type_))
    return condition is not None and condition.known is Status.TRUE


def mailbox_status(
    mailbox: Mailbox, domain: Domain, host: Host, observed: Observed
) -> MailboxStatus:
    """Active once its host was seen converged after mailbox, login and domain came to its spec."""
    if mailbox.suspended_at is not None:
        return "suspended"
    converged = observed.get((host.id, Type.CONVERGED))
    if domain.verified_at is None or host.applied_at is None or converged is None:
        return "provisioning"
    wanted_since = max(mailbox.login_since or mailbox.created_at, domain.verified_at)
    if converged.known is Status.TRUE and host.applied_at > wanted_since:
        return "active"
    return "provisioning"
