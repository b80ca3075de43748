"""Hosts as the reconciler handles them: what one must be, what it is, and how it is pushed."""

import io
import tarfile
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlmodel import Session

from orchestrator import plan as planning
from orchestrator import rendering, spec
from orchestrator.conditions import Reason
from orchestrator.errors import Invalid
from orchestrator.hosts import known_hosts
from orchestrator.hosts.bundle import Bundle
from orchestrator.hosts.errors import HostError, OtherDebianError
from orchestrator.hosts.jobs import Job, Outcome
from orchestrator.hosts.probe import Observed, Watch, probe
from orchestrator.hosts.ssh import Pool, SshTarget
from orchestrator.hosts.workers import Workers
from orchestrator.hostspec import HostSpec, RenderedFile
from orchestrator.models import Host
from orchestrator.plan import Plan
from orchestrator.rendering import TemplateSet, requirements
from orchestrator.rendering.requirements import Requirements
from orchestrator.secrets import Vault
from orchestrator.services import releases
from orchestrator.settings import Settings
from orchestrator.spec import Carried

#: The most pushes at once; each is a process while it lasts.
WORKERS = 16


@dataclass(frozen=True)
class Wanted:
    """What a host must be."""

    spec: HostSpec
    files: list[RenderedFile]

    @property
    def required(self) -> Requirements:
        """What its Debian needs around the files."""
        return requirements.of(self.spec.os)


@dataclass(frozen=True)
class HostState:
    """What a host must be, what was seen there, and the difference."""

    wanted: Wanted
    observed: Observed
    plan: Plan


class Fleet:
    """Reaches hosts: warm connections to look, worker processes to push."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self.pool = Pool()
        self._workers = Workers(WORKERS)
        #: By release; its texts never change.
        self._templates: dict[UUID, TemplateSet] = {}

    @property
    def pushing(self) -> int:
        """How many pushes are under way."""
        return self._workers.busy

    def warm_up(self) -> None:
        """Start what the first push would have to wait for."""
        self._workers.warm_up()

    def close(self) -> None:
        """Let go of all connections and processes."""
        self.pool.close()
        self._workers.close()

    def target(self, host: Host) -> SshTarget:
        """Where to log in."""
        return SshTarget(
            name=host.name,
            address=host.address,
            port=host.ssh_port,
            user=host.ssh_user,
            host_key=host.host_key,
            key_file=self._settings.ssh_key_file,
            connect_timeout=self._settings.ssh_connect_timeout,
            command_timeout=self._settings.ssh_command_timeout,
        )

    def identify(self, host: Host) -> str:
        """Ask a host for its Debian.

        :raises HostError: as ``probe`` does.
        """
        return probe(self.pool, self.target(host), Watch()).os

    def want(self, session: Session, host: Host, own: Carried) -> HostSpec:
        """What the host must be, by the rows."""
        limit = self._settings.message_size_limit
        return spec.build(session, self._vault, host, own, message_size_limit=limit)

    def choose_release(self, session: Session, host: Host) -> None:
        """Give a host that has no templates yet the newest that are known to be good.

        :raises ConfigurationError: when there is no release yet and no templates are found.
        """
        directory = self._settings.template_directory
        host.release_id = releases.ensure(session, host.id, lambda: rendering.read(directory))

    def templates(self, session: Session, host: Host) -> TemplateSet:
        """The templates of the host's release."""
        assert host.release_id is not None, "it was chosen before"
        if host.release_id not in self._templates:
            texts = releases.texts(session, host.release_id)
            self._templates[host.release_id] = TemplateSet(texts)
        return self._templates[host.release_id]

    def look(self, host: Host, wanted: Wanted) -> HostState:
        """Probe and compare: one round trip.

        :raises HostError: when the host can't be looked at.
        :raises OtherDebianError: when it runs another Debian than before.
        """
        observed = probe(self.pool, self.target(host), watch(wanted))
        if observed.os != wanted.spec.os:
            raise OtherDebianError(wanted.spec.os, observed.os)
        return compare(wanted, observed)

    def explain(self, host: Host, state: HostState) -> Plan:
        """The plan with diffs: a second round trip fetches the files that differ.

        :raises HostError: when the connection breaks.
        """
        paths = [
            file.path
            for file in state.plan.files
            if not file.secret and file.path in state.observed.files
        ]
        current = self._read(host, paths) if paths else {}
        return planning.with_diffs(state.plan, current)

    def removed(self, host: Host, state: HostState) -> dict[str, list[str]]:
        """What the plan removes from the host, by path and name: a round trip.

        :raises HostError: when the connection breaks.
        """
        paths = {removal.path for removal in state.plan.removals}
        wanted = {f.path: f.content for f in state.wanted.files if f.path in paths}
        return {
            path: sorted({*planning.entries(text)} - {*planning.entries(wanted[path])})
            for path, text in self._read(host, sorted(paths)).items()
        }

    def _read(self, host: Host, paths: list[str]) -> dict[str, str]:
        listing = "\n".join(path.lstrip("/") for path in paths).encode()
        answer = self.pool.run(self.target(host), "tar -C / -czf - -T - | base64", listing)
        with tarfile.open(fileobj=io.BytesIO(b64decode(answer.stdout))) as archive:
            texts = {}
            for entry in archive.getmembers():
                file = archive.extractfile(entry)
                texts["/" + entry.name] = file.read().decode(errors="replace") if file else ""
            return texts

    def push(self, host: Host, state: HostState, generation: int) -> Outcome:
        """Carry the plan out. Whatever fails, the files that were in force stay in force."""
        plan, required = state.plan, state.wanted.required
        bundle = ""
        if plan.carried:
            files = state.wanted.files
            inputs = planning.daemon_digests(files)
            digests = {name: inputs[name] for name in plan.daemons}
            if plan.sessions:
                digests[planning.SESSIONS] = planning.sessions_digest(files, required)
            paths = [*(file.path for file in plan.files), *plan.delete]
            bundle = Bundle(
                generation=generation,
                changed=plan.files,
                delete=plan.delete,
                digests=digests,
                purges=plan.purges,
                validate=requirements.validation(paths),
                reload="".join(f"{required.reload[name]}\n" for name in plan.daemons),
                # Where no daemon takes anything up, none can have been broken.
                smoke=required.smoke if plan.daemons else "",
            ).pack()
        return self._carry_out(
            host,
            bundle,
            packages=plan.packages,
            users=required.users if plan.accounts else (),
            memberships=required.memberships if plan.accounts else (),
            directories=required.directories if plan.accounts else (),
        )

    def roll_back(self, host: Host, wanted: Wanted, generation: int, back_to: int) -> Outcome:
        """Put the files of an earlier generation into force again, as a new generation."""
        required = wanted.required
        bundle = Bundle(
            generation=generation,
            changed=(),
            delete=(),
            digests={},
            validate=requirements.validation(file.path for file in wanted.files),
            reload="".join(f"{command}\n" for command in required.reload.values()),
            smoke=required.smoke,
            back_to=back_to,
        )
        return self._carry_out(host, bundle.pack())

    def _carry_out(self, host: Host, bundle: str, **prerequisites: Any) -> Outcome:
        needs = {"packages": (), "users": (), "memberships": (), "directories": ()}
        with tempfile.TemporaryDirectory(prefix="mailfleet-") as directory:
            hosts_file = Path(directory) / "known_hosts"
            known_hosts.write(hosts_file, [(host.address, host.ssh_port, host.host_key)])
            return self._workers.run(
                Job(
                    name=host.name,
                    ssh={
                        "ssh_hostname": host.address,
                        "ssh_port": host.ssh_port,
                        "ssh_user": host.ssh_user,
                        "ssh_key": str(self._settings.ssh_key_file),
                        "ssh_known_hosts_file": str(hosts_file),
                        "ssh_strict_host_key_checking": "yes",
                    },
                    connect_timeout=int(self._settings.ssh_connect_timeout),
                    timeout=int(self._settings.apply_timeout),
                    bundle=bundle,
                    **{**needs, **prerequisites},
                )
            )


def render(host_spec: HostSpec, templates: TemplateSet) -> Wanted:
    """The files that make a host be that.

    :raises HostError: when a template or a value is refused.
    """
    try:
        return Wanted(host_spec, rendering.render(host_spec, templates))
    except (Invalid, rendering.RenderingError) as error:
        raise HostError(Reason.RENDERING_FAILED, str(error)) from None


def compare(wanted: Wanted, observed: Observed) -> HostState:
    """What differs on a host that was seen so."""
    plan = planning.compare(wanted.files, wanted.required, observed, wanted.spec.purges)
    return HostState(wanted, observed, plan)


def watch(wanted: Wanted) -> Watch:
    """What a probe of the host has to look at."""
    required = wanted.required
    return Watch(
        files=tuple(file.path for file in wanted.files),
        trees=required.trees,
        directories=tuple(directory[0] for directory in required.directories),
        accounts=(*(user[0] for user in required.users), *(m[0] for m in required.memberships)),
        units=tuple(required.units.values()),
        packages=required.packages,
        entries=required.entries,
        purged=tuple(store.home for store in wanted.spec.purges),
    )
