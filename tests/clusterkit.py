"""Clusters in a test's database, and programs that speak for their workspaces."""

from collections.abc import Mapping

from storekit import QUICK, Store

from orchestrator import db
from orchestrator.models import Bucket, Cluster, Host, User, Workspace
from orchestrator.services import clusters, keys, users


def cluster(store: Store, workspace: Workspace, *hosts: Host, region: str = "lab") -> Cluster:
    """A cluster of the tenant's; each host needs a free address."""
    with db.writing(store.engine) as session:
        made = clusters.create(session, store.settings, workspace, region=region)
    for host in hosts:
        with db.writing(store.engine) as session:
            row = session.get_one(Cluster, made.id)
            clusters.add_mta(session, row, session.get_one(Host, host.id))
    return made


def user(store: Store, workspace: Workspace, email: str | None = None) -> User:
    """Somebody of the tenant's, who signs in nowhere."""
    email = email or f"ops@{workspace.slug}.com"
    with db.writing(store.engine) as session:
        return users.add(session, workspace, email=email, name="Ops", password_hash="none")


def token(store: Store, owner: User, rates: Mapping[Bucket, str] | None = QUICK) -> str:
    """The user's new token; the one before it ends."""
    with db.writing(store.engine) as session:
        return keys.create_for(session, owner, rates=rates)[1]
