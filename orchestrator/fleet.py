"""Hosts as the reconciler handles them: what one must be, what it is, and how it is pushed."""

import io
import tarfile
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlmodel import Session

from orchestrator import plan as planning
from orchestrator import rendering, spec
from orchestrator.conditions import Reason
from orchestrator.errors import Invalid
from orchestrator.hosts import known_hosts
from orchestrator.hosts.bundle import Bundle
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.jobs import Job, Outcome
from orchestrator.hosts.probe import Observed, Watch, probe
from orchestrator.hosts.ssh import Pool, SshTarget
from orchestrator.hosts.workers import Workers
from orchestrator.hostspec import HostSpec, RenderedFile
from orchestrator.models import Host
from orchestrator.plan import Plan
from orchestrator.rendering import TemplateSet, requirements
from orchestrator.secrets import Vault
from orchestrator.services import releases
from orchestrator.settings import Settings

WORKERS = 2


@dataclass(frozen=True)
class HostState:
    """What a host must be, what was seen there, and the difference."""

    spec: HostSpec
    templates: TemplateSet
    files: list[RenderedFile]
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

    def spec(self, session: Session, host: Host) -> HostSpec:
        """What the host must be, by the rows."""
        limit = self._settings.message_size_limit
        return spec.build(session, self._vault, host, message_size_limit=limit)

    def templates(self, session: Session, host: Host) -> TemplateSet:
        """The templates of the host's release; a host that has none yet is given one.

        :raises ConfigurationError: when there is no release yet and no templates are found.
        """
        if host.release_id is None:
            directory = self._settings.template_directory
            host.release_id = releases.ensure(session, host.id, lambda: rendering.read(directory))
        if host.release_id not in self._templates:
            texts = releases.texts(session, host.release_id)
            self._templates[host.release_id] = TemplateSet(texts)
        return self._templates[host.release_id]

    def look(self, host: Host, wanted: HostSpec, templates: TemplateSet) -> HostState:
        """Render, probe and compare: one round trip.

        :raises HostError: when the host can't be looked at, runs another Debian than before,
            or its files can't be rendered.
        """
        try:
            files = rendering.render(wanted, templates)
        except (Invalid, rendering.RenderingError) as error:
            raise HostError(Reason.RENDERING_FAILED, str(error)) from None
        required = requirements.of(wanted.os)
        observed = probe(self.pool, self.target(host), watch(files, required))
        if observed.os != wanted.os:
            raise HostError(Reason.UNSUPPORTED_OS, f"was {wanted.os}, now runs {observed.os}")
        return HostState(
            wanted, templates, files, observed, planning.compare(files, required, observed)
        )

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
        plan = state.plan
        required = requirements.of(state.spec.os)
        bundle = ""
        if plan.files or plan.delete or plan.daemons:
            digests = planning.daemon_digests(state.files)
            bundle = Bundle(
                generation=generation,
                changed=plan.files,
                support=[file for file in state.files if file not in plan.files],
                delete=plan.delete,
                digests={name: digests[name] for name in plan.daemons},
                validate=required.validate,
                reload="".join(f"{required.reload[name]}\n" for name in plan.daemons),
                smoke=required.smoke,
            ).pack()
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
                    packages=plan.packages,
                    users=required.users if plan.accounts else (),
                    memberships=required.memberships if plan.accounts else (),
                    directories=required.directories if plan.accounts else (),
                    bundle=bundle,
                )
            )


def watch(files: list[RenderedFile], required: requirements.Requirements) -> Watch:
    """What a probe of the host has to look at."""
    return Watch(
        files=tuple(file.path for file in files),
        trees=required.trees,
        directories=tuple(directory[0] for directory in required.directories),
        accounts=(*(user[0] for user in required.users), *(m[0] for m in required.memberships)),
        units=tuple(required.units.values()),
        packages=required.packages,
    )
