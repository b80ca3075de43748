"""SMTP credentials of a cluster: who may submit, as which domains, from which networks."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session, col, select

from orchestrator.errors import Invalid, NotFound
from orchestrator.models import Cluster, Credential, utcnow
from orchestrator.secrets import hash_password, new_password
from orchestrator.services import cluster_domains, validation
from orchestrator.services.rows import lock, unique
from orchestrator.services.wake import wake_cluster

_USERNAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,255}")
#: How many domains or networks one may name.
MOST = 500


class Restrictions(NamedTuple):
    """What a request says about a credential's restrictions; None for what it doesn't say."""

    allow_all_domains: bool | None = None
    domains: Sequence[str] | None = None
    allow_all_ips: bool | None = None
    allowed_ips: Sequence[str] | None = None


def create(
    session: Session, cluster: Cluster, username: str, wanted: Restrictions
) -> tuple[Credential, str]:
    """Make a credential. Its domains must be told; without a word all networks are allowed.

    :returns: the credential, and its password: the only time that it is told.
    :raises Invalid: when a value is malformed, a domain is not the cluster's, or a restriction
        allows nothing.
    :raises Conflict: when the cluster has such a user already.
    """
    if not _USERNAME.fullmatch(username):
        text = "The user field may hold 1 to 255 letters, numbers and + = , . @ _ - only."
        raise Invalid(text, field="user")
    # Before the first query: on SQLite that starts the transaction, and hashing takes time.
    password = new_password()
    hashed = hash_password(password)
    row = Credential(
        cluster_id=cluster.id,
        username=username,
        login=username.lower(),
        password_hash=hashed,
        allow_all_domains=False,
        allow_all_ips=True,
    )
    if wanted.allow_all_domains is None and wanted.domains is None:
        wanted = wanted._replace(allow_all_domains=False)
    _restrict(session, cluster, row, wanted)
    with unique(session, "The user has already been taken.", field="user"):
        session.add(row)
    wake_cluster(session, cluster.id)
    return row, password


def list_(session: Session, cluster: Cluster) -> list[Credential]:
    """The cluster's credentials, oldest first."""
    rows = select(Credential).where(
        Credential.cluster_id == cluster.id, col(Credential.deleted_at).is_(None)
    )
    return list(session.exec(rows.order_by(col(Credential.id))))


def get(session: Session, cluster: Cluster, username: str) -> Credential:
    """The cluster's credential of that user, in whatever case it is written."""
    rows = select(Credential).where(
        Credential.cluster_id == cluster.id,
        Credential.login == username.lower(),
        col(Credential.deleted_at).is_(None),
    )
    # Any text may be asked for, and PostgreSQL refuses to look for some.
    row = session.exec(rows).first() if _USERNAME.fullmatch(username) else None
    if row is None:
        raise NotFound("there is no such user in this cluster")
    return row


def update(session: Session, cluster: Cluster, username: str, wanted: Restrictions) -> Credential:
    """Change restrictions; what the request doesn't say stays.

    :raises Invalid: as ``create``.
    """
    row = get(session, cluster, username)
    _restrict(session, cluster, row, wanted)
    row.updated_at = utcnow()
    session.add(row)
    session.flush()
    wake_cluster(session, cluster.id)
    return row


def delete(session: Session, cluster: Cluster, username: str) -> None:
    """Delete a credential: with the hosts' next pass, nobody sends with it."""
    row = get(session, cluster, username)
    row.deleted_at = utcnow()
    session.add(row)
    session.flush()
    wake_cluster(session, cluster.id)


def _restrict(session: Session, cluster: Cluster, row: Credential, wanted: Restrictions) -> None:
    # Nobody deletes one of its domains meanwhile, so that none is named that is gone.
    lock(session, Cluster, [cluster.id])
    # A list without a word about all means the list.
    row.allow_all_domains, row.domains = _restriction(
        "domains", wanted.allow_all_domains, wanted.domains, (row.allow_all_domains, row.domains)
    )
    row.allow_all_ips, row.allowed_ips = _restriction(
        "allowed_ips",
        wanted.allow_all_ips,
        wanted.allowed_ips,
        (row.allow_all_ips, row.allowed_ips),
    )
    if wanted.domains is not None:
        row.domains = _domains(session, cluster, row.domains)
    if wanted.allowed_ips is not None:
        row.allowed_ips = _networks(row.allowed_ips)


def _restriction(
    field: str,
    everything: bool | None,
    listed: Sequence[str] | None,
    before: tuple[bool, list[str]],
) -> tuple[bool, list[str]]:
    if everything is None and listed is None:
        # Also of one that lost its last domain: it may be changed otherwise.
        return before
    if everything:
        return True, []
    names = before[1] if listed is None else list(listed)
    if len(names) > MOST:
        raise Invalid(f"The {_spoken(field)} field holds more than {MOST} items.", field=field)
    if not names:
        switch = "allow all domains" if field == "domains" else "allow all ips"
        text = f"The {_spoken(field)} field is required when {switch} is false."
        raise Invalid(text, field=field)
    return False, names


def _spoken(field: str) -> str:
    return field.replace("_", " ")


def _domains(session: Session, cluster: Cluster, names: Sequence[str]) -> list[str]:
    known = {domain.name for domain in cluster_domains.list_(session, cluster)}
    found = []
    for number, text in enumerate(names):
        try:
            name = validation.fqdn(text)
        except Invalid:
            name = ""
        if name not in known:
            # The client must see which of its names is meant.
            field = f"domains.{number}"
            raise Invalid(f"The selected {field} is not a domain of this cluster.", field=field)
        found.append(name)
    return list(dict.fromkeys(found))


def _networks(texts: Sequence[str]) -> list[str]:
    found = []
    for number, text in enumerate(texts):
        field = f"allowed_ips.{number}"
        try:
            network = validation.network(text, field=field)
        except Invalid:
            message = (
                f"The {field} field must be an IP address or a network such as 203.0.113.0/24."
            )
            raise Invalid(message, field=field) from None
        single = network.num_addresses == 1 and "/" not in text
        found.append(str(network.network_address) if single else str(network))
    return list(dict.fromkeys(found))
