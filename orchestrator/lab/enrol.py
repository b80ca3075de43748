"""What an operator does on a new fleet, done for the lab: hosts, addresses, zones, a tenant."""

import time

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from orchestrator import db
from orchestrator.control import ControlPlane
from orchestrator.db import writing
from orchestrator.hosts import known_hosts
from orchestrator.hosts.ssh import scan_host_key
from orchestrator.lab import nameserver
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Host as Machine
from orchestrator.lab.topology import Topology
from orchestrator.models import Address, AddressState, Host, User, Workspace, Zone
from orchestrator.secrets import Vault, new_password
from orchestrator.services import addresses, clusters, hosts, intake, keys, users, workspaces, zones
from orchestrator.settings import Settings

KEY_FILE = "adbtd.key"
USER_KEY_FILE = "unmta.key"
ADMISSION_SECONDS = 60.0


def enrol(state: State, topology: Topology, options: Settings) -> None:
    """Bring hosts, pool, zones and the demonstration tenant into the database; harmless again."""
    engine = db.connect(options.database_url)
    vault = Vault(options.master_key_file)
    scanned = {m.name: _trusted_key(state, m, options) for m in topology.hosts}
    with writing(engine) as session:
        for machine in topology.hosts:
            _enrol_host(session, vault, topology, machine, scanned[machine.name])
        owner = _workspace(session, topology.demo.workspace)
        for name in topology.dns.managed:
            _manage(session, vault, state, topology, name, owner)
    _admit(engine, vault, topology, options)
    with writing(engine) as session:
        for machine in topology.hosts:
            _assign(session, owner, machine)
        _cluster(session, options, owner, topology)
    state.once(KEY_FILE, lambda: _token(engine, owner.slug))
    state.once(USER_KEY_FILE, lambda: _user_token(engine, owner, topology))
    engine.dispose()


def _trusted_key(state: State, machine: Machine, options: Settings) -> str:
    # The file was written from inside the containers, so a key that differs is another host's.
    key = scan_host_key(str(machine.address), 22, options.ssh_connect_timeout)
    if known_hosts.line(str(machine.address), 22, key) not in _lines(state):
        raise LabError(f"{machine.name} shows a host key that its container doesn't have")
    return key


def _lines(state: State) -> set[str]:
    lines = set()
    for line in state.path("known_hosts").read_text().splitlines():
        names, _, key = line.partition(" ")
        lines |= {f"{name} {key}\n" for name in names.split(",")}
    return lines


def _enrol_host(
    session: Session, vault: Vault, topology: Topology, machine: Machine, key: str
) -> None:
    row = session.exec(select(Host).where(Host.name == machine.name)).first()
    if row is None:
        row = hosts.add(
            session,
            vault,
            name=machine.name,
            hostname=topology.hostname(machine),
            address=str(machine.address),
            ssh_port=22,
            ssh_user="root",
            host_key=key,
        )
    elif row.host_key != key:
        # The container was made anew: its state in the database is of another machine.
        hosts.rekey(session, row, key)
    for ip in machine.dedicated_ips:
        if session.exec(select(Address).where(Address.ip == ip)).first() is None:
            name = intake.default_name(ip, topology.fleet.domain)
            addresses.add(session, host=row, ip=ip, ptr_name=name)


def _admit(engine: Engine, vault: Vault, topology: Topology, options: Settings) -> None:
    """Do for new addresses what the reconciler does: publish their names, and look at them.

    No reconciler runs yet; the tenant's addresses must be free before the hosts' first pass.
    """
    deadline = time.monotonic() + topology.seconds(ADMISSION_SECONDS)
    with ControlPlane(engine, options, vault) as control:
        while new := _new(engine, topology):
            for host_id in {row.host_id for row in new}:
                control.proofs.check_host_names(host_id)
            for row in new:
                control.reputation.check(row.id)
            if time.monotonic() > deadline:
                waiting = ", ".join(sorted(row.ip for row in new))
                raise LabError(f"the PTR records are not seen, or are wrong: {waiting}")
            time.sleep(0.2)


def _new(engine: Engine, topology: Topology) -> list[Address]:
    ips = [ip for machine in topology.hosts for ip in machine.dedicated_ips]
    new = select(Address).where(Address.state == AddressState.NEW, col(Address.ip).in_(ips))
    with db.reading(engine) as session:
        return list(session.exec(new))


def _workspace(session: Session, slug: str) -> Workspace:
    row = session.exec(select(Workspace).where(Workspace.slug == slug)).first()
    return row or workspaces.create(session, slug=slug, name=slug.capitalize(), currency="usd")


def _assign(session: Session, owner: Workspace, machine: Machine) -> None:
    host = hosts.get_by_name(session, machine.name)
    held = select(Address).where(Address.workspace_id == owner.id, Address.host_id == host.id)
    if session.exec(held).first() is None:
        addresses.assign(session, owner, count=1, version=4, host=host)


def _cluster(session: Session, options: Settings, owner: Workspace, topology: Topology) -> None:
    if clusters.list_(session, owner):
        return
    cluster = clusters.create(session, options, owner, region=topology.demo.region)
    for machine in topology.hosts:
        clusters.add_mta(session, cluster, hosts.get_by_name(session, machine.name))


def _user_token(engine: Engine, owner: Workspace, topology: Topology) -> str:
    email, name = f"{topology.demo.user}@{topology.demo.domain}", topology.demo.user.capitalize()
    # Nobody signs in: the token is all that is used.
    hashed = users.hash_password(new_password())
    with writing(engine) as session:
        row = session.exec(select(User).where(User.email == email)).first()
        row = row or users.add(session, owner, email=email, name=name, password_hash=hashed)
        return keys.create_for(session, row)[1]


def _manage(  # noqa: PLR0917 - every one is needed once
    session: Session, vault: Vault, state: State, topology: Topology, name: str, owner: Workspace
) -> None:
    if session.exec(select(Zone).where(Zone.name == name)).first() is not None:
        return
    zones.add(
        session,
        vault,
        name=name,
        workspace=owner if name == topology.demo.domain else None,
        server=str(topology.dns.authoritative),
        port=53,
        tsig_name=topology.dns.tsig_name,
        tsig_algorithm=topology.dns.tsig_algorithm,
        tsig_secret=state.path(nameserver.TSIG_FILE).read_text().strip(),
    )


def _token(engine: Engine, slug: str) -> str:
    with writing(engine) as session:
        _, token = keys.create(session, workspaces.get_by_slug(session, slug), "lab")
    return token
