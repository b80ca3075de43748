"""The pyinfra deploy that carries out a plan: packages, users, directories, then the files."""

from typing import Any

from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State
from pyinfra.operations import apt, files, server

from orchestrator.conditions import Reason
from orchestrator.hosts import operations
from orchestrator.hosts.jobs import Job, Outcome


def run(job: Job) -> Outcome:
    """Carry out one job. pyinfra's state is global: one at a time in a process."""
    inventory = Inventory(([(f"@mailfleet/{job.name}", job.ssh)], {}))
    config = Config(CONNECT_TIMEOUT=job.connect_timeout, FAIL_PERCENT=0)
    state = State(inventory, config, check_for_changes=False)
    try:
        connect_all(state)
    except PyinfraError as error:
        return Outcome(Reason.UNREACHABLE, f"pyinfra can't connect: {error}", {})
    try:
        steps = _add_operations(state, job)
        try:
            run_ops(state)
        except PyinfraError:
            return _failure(state, steps)
        return _success(steps)
    finally:
        disconnect_all(state)


def _add_operations(state: State, job: Job) -> list[tuple[str, Any]]:
    limits = {"_timeout": job.timeout}
    steps: list[tuple[str, Any]] = []

    def add(name: str, op: Any, **arguments: Any) -> None:
        metas = add_op(state, op, name=name, **limits, **arguments)
        steps.append((name, next(iter(metas.values()))))

    if job.packages:
        add("packages", apt.packages, packages=list(job.packages), no_recommends=True)
    for user, uid, group, home in job.users:
        add("group", server.group, group=group, gid=uid, system=True)
        add(  # noqa: S604 - a login shell, not a call through one
            "user",
            server.user,
            user=user,
            uid=uid,
            group=group,
            home=home,
            shell="/usr/sbin/nologin",
            system=True,
            create_home=False,
        )
    for user, group in job.memberships:
        add("membership", server.user, user=user, groups=[group], append=True)
    for path, owner, group, mode in job.directories:
        add("directory", files.directory, path=path, user=owner, group=group, mode=mode)
    if job.bundle:
        add("generation", operations.generation, _stdin=job.bundle)
    return steps


def _failure(state: State, steps: list[tuple[str, Any]]) -> Outcome:
    for name, meta in steps:
        if not meta.is_complete():
            return Outcome(Reason.TIMED_OUT, f"{name} was not run", {})
        if meta.did_error():
            stdout, stderr = meta.stdout_lines, meta.stderr_lines
            if name == "generation":
                return _refused(stdout, stderr)
            reason = Reason.PACKAGES_FAILED if name == "packages" else Reason.APPLY_FAILED
            return Outcome(_environment(stderr) or reason, _tail([*stdout, *stderr]), {})
    return Outcome(Reason.APPLY_FAILED, "pyinfra stopped without naming a step", {})


def _refused(stdout: list[str], stderr: list[str]) -> Outcome:
    for number, line in enumerate(stdout):
        if line.startswith("fail\t"):
            reason = Reason(line.split("\t")[1])
            return Outcome(reason, _tail([*stdout[number + 1 :], *stderr]), _timings(stdout))
    return Outcome(_environment(stderr) or Reason.APPLY_FAILED, _tail([*stdout, *stderr]), {})


def _success(steps: list[tuple[str, Any]]) -> Outcome:
    for name, meta in steps:
        if name == "generation":
            return Outcome(None, "", _timings(meta.stdout_lines), _diffs(meta.stdout_lines))
    return Outcome(None, "", {})


def _environment(lines: list[str]) -> Reason | None:
    text = "\n".join(lines)
    if "No space left on device" in text or "You don't have enough free space" in text:
        return Reason.DISK_FULL
    return Reason.READ_ONLY if "Read-only file system" in text else None


def _timings(lines: list[str]) -> dict[str, float]:
    steps = (line.split("\t") for line in lines if line.startswith("step\t"))
    return {name: float(milliseconds) for _, name, milliseconds in steps}


def _diffs(lines: list[str]) -> dict[str, str]:
    diffs: dict[str, list[str]] = {}
    path = ""
    for line in lines:
        if line.startswith("diff\t"):
            path = line.split("\t")[1]
            diffs[path] = []
        elif path and line:
            diffs[path].append(line)
    return {path: "\n".join(text) for path, text in diffs.items()}


def _tail(lines: list[str]) -> str:
    return "\n".join(line for line in lines if line.strip())[-2000:]
