"""The life of DKIM keys: published, then seen for a TTL, then signing, then retired, then gone.

A key signs only once its record has been seen for so long that nobody can still believe that it
is not there. The key before it then signs no more, but its record stays, for mail under way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator import dkim, wakeup
from orchestrator.conditions import Reason, Status
from orchestrator.dns.judgement import Observation, worst
from orchestrator.dns.records import dkim_name
from orchestrator.models import Cluster, DkimKey, DkimState, Domain, Host, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import zones
from orchestrator.services.rows import unique
from orchestrator.services.wake import wake
from orchestrator.settings import Settings
from orchestrator.spec import mail_hosts

#: A private key as PEM, and its public key; see ``dkim.generate``.
Pair = tuple[str, str]

#: Keys of one age are replaced over this share of their time, not all on one day.
SPREAD = 0.125
#: The selector of a cluster's domain, if no other cluster has the domain.
CLUSTER_SELECTOR = "unmta"
#: How many rotations one look at what is due starts.
BATCH = 20


@dataclass(frozen=True)
class KeyStatus:
    """A key as people read it: its state, since when, and what it waits for."""

    selector: str
    state: DkimState
    since: datetime
    waiting_for: str

    @property
    def text(self) -> str:
        """In one phrase."""
        if self.waiting_for:
            return f"{self.selector} waits for {self.waiting_for}"
        return f"{self.selector} signs since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def add(session: Session, vault: Vault, domain: Domain, pair: Pair) -> DkimKey:
    """Give a domain a new key, which waits for its record to be seen.

    :raises Conflict: when another new key waits already.
    """
    private, public = pair
    key = DkimKey(
        domain_id=domain.id,
        selector=_selector(session, domain),
        private_key=vault.encrypt(private),
        public_key=public,
    )
    with unique(session, f"a new key of {domain.name} waits already for its record to be seen"):
        session.add(key)
    domain.dns_due_at = utcnow()
    session.add(domain)
    wakeup.request(session)
    return key


def _selector(session: Session, domain: Domain) -> str:
    of_name = select(DkimKey.selector).join(Domain).where(Domain.name == domain.name)
    if domain.cluster_id is None:
        return dkim.selector(utcnow(), session.exec(of_name))
    # What clients' documents and programs know it by; another cluster may have it already.
    elsewhere = of_name.where(Domain.id != domain.id, col(Domain.deleted_at).is_(None))
    base = CLUSTER_SELECTOR
    if any(f"{name}-".startswith(f"{base}-") for name in session.exec(elsewhere)):
        base += f"-{session.get_one(Cluster, domain.cluster_id).slug}"
    own = select(DkimKey.selector).where(DkimKey.domain_id == domain.id)
    return dkim.cluster_selector(base, session.exec(own))


def keys(session: Session, domain_id: UUID) -> list[DkimKey]:
    """The domain's keys, oldest first. The records of all of them must stand."""
    rows = select(DkimKey).where(DkimKey.domain_id == domain_id)
    return list(session.exec(rows.order_by(col(DkimKey.id))))


def due(session: Session, settings: Settings, now: datetime) -> list[Domain]:
    """The domains whose key has become too old, and whose zone is ours to write.

    Where a tenant copies records by hand nobody might see the new one: that is rotated when
    somebody asks for it.
    """
    days = settings.dkim_rotation_days
    if not days:
        return []
    waiting = select(DkimKey.domain_id).where(DkimKey.state == DkimState.PENDING)
    old = (
        select(Domain, DkimKey.activated_at)
        .join(DkimKey)
        .where(
            DkimKey.state == DkimState.ACTIVE,
            col(DkimKey.activated_at) <= now - timedelta(days=days * (1 - SPREAD)),
            col(Domain.deleted_at).is_(None),
            col(Domain.id).not_in(waiting),
        )
        .order_by(col(DkimKey.activated_at))
    )
    found = [
        domain
        for domain, since in session.exec(old)
        if since is not None
        and since + _lifetime(domain, days) <= now
        and zones.covering(session, domain.name, domain.workspace_id)
    ]
    return found[:BATCH]


def _lifetime(domain: Domain, days: float) -> timedelta:
    # The last bits of an id are random, and stay the same.
    share = (domain.id.int & 0xFFFF) / 0x10000
    return timedelta(days=days * (1 - SPREAD * share))


def observe(
    session: Session,
    settings: Settings,
    domain: Domain,
    seen: Mapping[str, Observation],
    negative_ttl: float,
) -> datetime | None:
    """Bring the domain's keys on, from what was just seen of their records.

    :param seen: by selector; a record that couldn't be looked at is Unknown, and changes nothing.
    :param negative_ttl: for how many seconds resolvers may still believe that there is no record.
    :returns: when a waiting key that was just seen may sign, if its record stays.
    """
    now, ready = utcnow(), None
    for key in keys(session, domain.id):
        if key.state is DkimState.PENDING and key.selector in seen:
            wait = timedelta(seconds=max(settings.record_ttl, negative_ttl))
            if domain.verified_at is None and domain.cluster_id is not None:
                # Nothing was ever sent as it: nobody can believe that there is no record.
                wait = timedelta(0)
            ready = _watch(session, domain, key, seen[key.selector].status, wait)
        elif key.state is DkimState.RETIRED:
            if key.retired_at is None and not _behind(session, domain):
                key.retired_at = now
            stays = timedelta(seconds=settings.dkim_retire_seconds)
            if key.retired_at is not None and key.retired_at + stays <= now:
                session.delete(key)
                wake(session, [host.id for host in _hosts(session, domain)])
    session.flush()
    return ready


def _watch(
    session: Session, domain: Domain, key: DkimKey, status: Status, wait: timedelta
) -> datetime | None:
    now = utcnow()
    if status is Status.FALSE:
        key.seen_at = None
    if status is not Status.TRUE:
        return None
    if key.seen_at is None or key.seen_at > now:  # a clock that was ahead, set right since
        key.seen_at = now
    if key.seen_at + wait > now:
        return key.seen_at + wait
    _activate(session, domain, key)
    return None


def _activate(session: Session, domain: Domain, key: DkimKey) -> None:
    for other in keys(session, domain.id):
        if other.state is DkimState.ACTIVE:
            other.state = DkimState.RETIRED
    key.state, key.activated_at = DkimState.ACTIVE, utcnow()
    session.flush()
    wake(session, [host.id for host in _hosts(session, domain)])


def _hosts(session: Session, domain: Domain) -> Sequence[Host]:
    if domain.host_id is not None:
        return [session.get_one(Host, domain.host_id)]
    if domain.cluster_id is not None:
        return session.exec(select(Host).where(Host.cluster_id == domain.cluster_id)).all()
    return mail_hosts(session, domain.workspace_id)


def _behind(session: Session, domain: Domain) -> list[str]:
    """The hosts that may still sign as before the present key: they were not told of it yet."""
    since = max(
        (key.activated_at for key in keys(session, domain.id) if key.activated_at), default=None
    )
    return [
        host.name
        for host in _hosts(session, domain)
        # One in its first pass may have been rendered without the key.
        if since is not None and (host.applied_at is None or host.applied_at <= since)
    ]


def verdict(
    session: Session, settings: Settings, domain: Domain, seen: Mapping[str, Observation]
) -> tuple[Status, Reason, str]:
    """``DkimOk``: whether what signs now is published. A key that only waits doesn't count."""
    held = keys(session, domain.id)
    signing = [key for key in held if key.state is not DkimState.PENDING and not key.retired_at]
    looked_at = [seen[key.selector] for key in signing or held if key.selector in seen]
    if not looked_at:
        return Status.UNKNOWN, Reason.NOT_YET_CHECKED, ""
    observation = worst(looked_at)
    newest = _status(session, settings, domain, (signing or held)[-1])
    # A rotation's old key signs until all hosts have the new one; before the first is nothing.
    begins = len(signing) <= 1 and bool(newest.waiting_for)
    if begins and observation.status is Status.TRUE:
        return Status.UNKNOWN, Reason.AWAITED, newest.text
    return observation.status, observation.reason, observation.message


def rotation(session: Session, settings: Settings, domain: Domain) -> tuple[Status, Reason, str]:
    """``DkimRotated``: whether the newest key signs, or what it waits for."""
    newest = status(session, settings, domain)[-1]
    if newest.state is DkimState.PENDING:
        return Status.FALSE, Reason.AWAITED, newest.text
    return Status.TRUE, Reason.OBSERVED, newest.text


def awaited(session: Session, domain: Domain) -> dict[str, bool]:
    """During a rotation: the name of the new key's record, and whether it was seen."""
    held = keys(session, domain.id)
    if all(key.state is DkimState.PENDING for key in held):
        return {}
    waiting = [key for key in held if key.state is DkimState.PENDING]
    return {dkim_name(key.selector, domain.name): key.seen_at is not None for key in waiting}


def status(session: Session, settings: Settings, domain: Domain) -> list[KeyStatus]:
    """The domain's keys as people read them, oldest first."""
    return [_status(session, settings, domain, key) for key in keys(session, domain.id)]


def _status(session: Session, settings: Settings, domain: Domain, key: DkimKey) -> KeyStatus:
    since = key.retired_at or key.activated_at or key.created_at
    match key.state:
        case DkimState.PENDING if key.seen_at is None:
            waits = f"{dkim_name(key.selector, domain.name)} to be seen in DNS"
        case DkimState.PENDING:
            waits = f"a TTL to pass since {key.seen_at:%H:%M:%S} UTC, when its record was seen"
        case DkimState.RETIRED if key.retired_at is not None:
            gone = key.retired_at + timedelta(seconds=settings.dkim_retire_seconds)
            waits = f"mail under way; its record goes at {gone:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            behind = ", ".join(_behind(session, domain))
            waits = f"{behind} to be told" if behind else ""
    return KeyStatus(key.selector, key.state, since, waits)
