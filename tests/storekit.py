"""A database of its own for one test, and rows in it."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine
from sqlmodel import SQLModel

from orchestrator import db, secrets
from orchestrator.conditions import Reason, Status, Type
from orchestrator.models import (
    Address,
    AddressState,
    Bucket,
    Certificate,
    Domain,
    Host,
    Workspace,
    Zone,
    utcnow,
)
from orchestrator.secrets import Vault
from orchestrator.services import (
    addresses,
    conditions,
    domains,
    hosts,
    keys,
    mailboxes,
    workspaces,
    zones,
)
from orchestrator.settings import CertificateSource, Settings

#: Rates for tests that ask more often than a tenant may.
QUICK = dict.fromkeys(Bucket, "1000000/1000000")

_BLOB = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(32)
HOST_KEY = "ssh-ed25519 " + base64.b64encode(_BLOB).decode()


def _authority() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Store CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(utcnow()).not_valid_after(utcnow() + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class Store:
    """A control plane's database with its settings and master key.

    :param database_url: a migrated database; by default one on a file in the directory.
    """

    def __init__(
        self,
        directory: Path,
        database_url: str | None = None,
        *,
        request_size_limit: int = 1024 * 1024,
    ) -> None:
        self.settings = Settings(
            database_url=database_url or f"sqlite:///{directory / 'mailfleet.db'}",
            master_key_file=directory / "master.key",
            ca_file=directory / "ca.pem",
            fleet_domain="fleetlab.net",
            probe_domain="probe.fleetlab.net",
            request_size_limit=request_size_limit,
        )
        self.settings.ca_file.write_text(_authority())
        secrets.create_master_key(self.settings.master_key_file)
        self.engine: Engine = db.connect(self.settings.database_url)
        if database_url is None:
            SQLModel.metadata.create_all(self.engine)
        self.vault = Vault(self.settings.master_key_file)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def workspace(self, slug: str = "acme") -> Workspace:
        """A tenant."""
        with db.writing(self.engine) as session:
            return workspaces.create(session, slug=slug, name=slug.capitalize())

    def key(
        self,
        workspace: Workspace,
        name: str = "ci/cd",
        limits: keys.Limits = keys.UNLIMITED,
        *,
        rates: Mapping[Bucket, str] | None = None,
    ) -> str:
        """A bearer token of the tenant."""
        with db.writing(self.engine) as session:
            return keys.create(session, workspace, name, limits, rates=rates)[1]

    def host(self, name: str = "mx1", address: str = "198.51.100.11") -> Host:
        """An enrolled host."""
        with db.writing(self.engine) as session:
            return hosts.add(
                session,
                self.vault,
                name=name,
                hostname=f"{name}.fleetlab.net",
                address=address,
                host_key=HOST_KEY,
            )

    def ready(self, *hosts: Host) -> None:
        """The hosts were looked at, and have certificates: what they must be can be told."""
        with db.writing(self.engine) as session:
            for host in hosts:
                session.get_one(Host, host.id).os = "debian12"
                session.add(
                    Certificate(
                        host_id=host.id,
                        source=CertificateSource.AUTHORITY,
                        names=[],
                        chain="CHAIN",
                        private_key=self.vault.encrypt("key"),
                        not_after=utcnow(),
                        renew_at=utcnow(),
                    )
                )

    def pool(self, host: Host, *ips: str) -> list[Address]:
        """Free addresses on the host."""
        with db.writing(self.engine) as session:
            row = session.get_one(Host, host.id)
            added = [
                addresses.add(
                    session,
                    host=row,
                    ip=ip,
                    ptr_name=f"ip-{ip.replace('.', '-').replace(':', '-')}.fleetlab.net",
                )
                for ip in ips
            ]
            for address in added:
                address.state = AddressState.FREE
            return added

    def assign(self, workspace: Workspace, count: int = 1) -> list[Address]:
        """Addresses of the pool for the tenant."""
        with db.writing(self.engine) as session:
            return addresses.assign(session, workspace, count=count)

    def domain(self, workspace: Workspace, name: str = "acme.com") -> Domain:
        """A domain of the tenant, not proven yet."""
        with db.writing(self.engine) as session:
            domains.add(session, self.vault, self.settings, workspace, name=name)
            return domains.get_by_name(session, workspace, name)

    def zone(self, name: str = "acme.com", workspace: Workspace | None = None) -> Zone:
        """A zone that we may update: the tenant's, or the fleet's own."""
        with db.writing(self.engine) as session:
            return zones.add(
                session,
                self.vault,
                name=name,
                workspace=workspace,
                server="198.51.100.53",
                tsig_name="mailfleet-lab",
                tsig_secret="c2VjcmV0",
            )

    def mailboxes(self, workspace: Workspace, *emails: str) -> list[mailboxes.Placed]:
        """Mailboxes of the tenant."""
        with db.writing(self.engine) as session:
            mailboxes.create(session, self.vault, self.settings, workspace, list(emails))
            return mailboxes.list_(session, workspace)

    def observe(self, subject: Domain | Host, *types: Type, status: Status = Status.TRUE) -> None:
        """Conditions of a subject, as the reconciler would write them."""
        with db.writing(self.engine) as session:
            for type_ in types:
                conditions.set_(session, subject.id, type_, status, Reason.OBSERVED)

    def prove(self, domain: Domain) -> None:
        """The domain's ownership was seen in DNS just now."""
        with db.writing(self.engine) as session:
            row = session.get_one(Domain, domain.id)
            row.verified_at = row.checked_at = utcnow()

    def converge(self, host: Host) -> None:
        """The host was seen converged, a second from now."""
        with db.writing(self.engine) as session:
            session.get_one(Host, host.id).applied_at = utcnow() + timedelta(seconds=1)
        self.observe(host, Type.CONVERGED)
