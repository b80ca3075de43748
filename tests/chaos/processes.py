"""Reconcilers as processes of their own, and their sudden end."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import UUID

from processkit import family, send

from orchestrator import db, passes, settings
from orchestrator.control import ControlPlane
from orchestrator.secrets import Vault

# Each begins as a copy of a process that has imported everything already.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", "chaos.processes"])


def apply(config: Path, host: UUID) -> None:
    """`reconcile apply` on one host: the exit code is 0 when it converged."""
    options = settings.load(config, {})
    engine = db.connect(options.database_url)
    with ControlPlane(engine, options, Vault(options.master_key_file)) as control:
        result = passes.settle(control, host)
    sys.exit(str(result) if result.reason else 0)


@contextmanager
def reconciler(config: Path, host: UUID) -> Iterator[BaseProcess]:
    """A reconciler that makes one pass, ended with the block if it has not ended before."""
    process = _CONTEXT.Process(target=apply, args=(config, host))
    process.start()
    assert process.pid is not None
    try:
        yield process
    finally:
        send(family(process.pid), signal.SIGKILL)
        process.join()
        process.close()
