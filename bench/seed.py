"""Databases to measure with: a fleet of simulated hosts, mailboxes by the thousand."""

from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from bench.simfleet import SimFleet, SimHost
from orchestrator import db, dkim, rendering, secrets, spec
from orchestrator.issuers.authority import Authority
from orchestrator.lab import pki
from orchestrator.lab.state import State
from orchestrator.models import (
    Address,
    AddressState,
    DkimKey,
    Domain,
    Host,
    Mailbox,
    Workspace,
    utcnow,
)
from orchestrator.secrets import Vault
from orchestrator.services import certificates
from orchestrator.settings import Settings

MAILBOXES_PER_HOST = 10


def installation(directory: Path) -> Settings:
    """A control plane's files and empty database in a directory of its own."""
    state = State.open(directory)
    pki.ensure_ca(state)
    pki.ensure_ssh_key(state)
    settings = Settings(
        database_url=f"sqlite:///{directory / 'mailfleet.db'}",
        master_key_file=directory / "master.key",
        ssh_key_file=directory / "id_ed25519",
        known_hosts_file=directory / "known_hosts",
        ca_file=directory / "ca.pem",
        ca_key_file=directory / "ca.key",
        # Only what a benchmark asks for is looked at.
        probe_interval=86400.0,
    )
    secrets.create_master_key(settings.master_key_file)
    db.upgrade(settings.database_url)
    return settings


def populate(settings: Settings, fleet: SimFleet) -> dict[str, SimHost]:
    """A tenant for each host of the fleet, with a domain and ten mailboxes; all of it converged.

    Keys and hashes are made once: making them is not what is measured.
    """
    vault = Vault(settings.master_key_file)
    engine = db.connect(settings.database_url)
    private, public = dkim.generate()
    encrypted = vault.encrypt(private)
    hashed = secrets.hash_password(secrets.new_password())
    with db.writing(engine) as session:
        for number, address in enumerate(fleet.addresses):
            name = f"sim{number}"
            host = Host(
                name=name,
                hostname=f"{name}.fleet.invalid",
                address=address,
                ssh_port=fleet.port,
                host_key=fleet.host_key,
                os=("debian12", "debian13")[number % 2],
                generation=1,
            )
            tenant = Workspace(slug=name, name=name, verification_token=name)
            session.add_all([host, tenant])
            session.flush()
            ip = Address(
                ip=f"10.77.{number // 250}.{number % 250 + 1}",
                version=4,
                ptr_name=f"out.{name}.fleet.invalid",
                host_id=host.id,
                state=AddressState.ASSIGNED,
                workspace_id=tenant.id,
            )
            now = utcnow()
            own = Domain(name=host.hostname, host_id=host.id, verified_at=now)
            domain = Domain(name=f"{name}.example", workspace_id=tenant.id, verified_at=now)
            session.add_all([ip, own, domain])
            session.flush()
            session.add_all(
                DkimKey(domain_id=id_, selector="mf1", private_key=encrypted, public_key=public)
                for id_ in (own.id, domain.id)
            )
            add_mailboxes(session, domain, ip, MAILBOXES_PER_HOST, hashed)
    return _converged(engine, settings, vault)


def add_mailboxes(
    session: Session, domain: Domain, address: Address, count: int, password_hash: str
) -> None:
    """``box0@domain`` and so on, which leave from the address; none of them can be logged in to."""
    assert domain.workspace_id is not None
    session.add_all(
        Mailbox(
            workspace_id=domain.workspace_id,
            domain_id=domain.id,
            address_id=address.id,
            email=f"box{number}@{domain.name}",
            password="",
            password_hash=password_hash,
            quota_mib=1024,
        )
        for number in range(count)
    )
    session.flush()


def _converged(engine: Engine, settings: Settings, vault: Vault) -> dict[str, SimHost]:
    authority = Authority(settings.ca_file, settings.ca_key_file)
    limit = settings.message_size_limit
    simulated = {}
    with db.writing(engine) as session:
        for host in session.exec(select(Host).order_by(col(Host.id))):
            certificates.ensure(session, vault, settings.certificate_source, authority, host)
            session.flush()
            own = spec.carried(session, host)
            wanted = spec.build(session, vault, host, own, message_size_limit=limit)
            simulated[host.address] = SimHost.converged(wanted.os, rendering.render(wanted))
    engine.dispose()
    return simulated
