"""``reconcile run``: the process that keeps everything converged."""

import logging
import signal
import threading

import rich_click as click

from orchestrator import duties, logs
from orchestrator.cli.app import App, pass_app
from orchestrator.control import ControlPlane
from orchestrator.metrics import Listener, Metrics
from orchestrator.readiness import ready
from orchestrator.scheduler import Scheduler

log = logging.getLogger("mailfleet")


@click.command()
@pass_app
def run(app: App) -> None:
    """Keep everything converged until interrupted; figures for Prometheus at `metrics_listen`.

    Example: `reconcile run`
    """
    logs.configure(app.settings.log_format, app.settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ControlPlane(app.engine, app.settings, app.vault) as control:
        control.receive_probes()
        control.fleet.warm_up()
        metrics = Metrics(control.fleet)
        scheduler = Scheduler(
            app.engine, duties.works(control), duties.chores(control), metrics.done
        )
        with Listener(metrics.registry, app.settings.metrics_address()):
            scheduler.start()
            log.info("reconciling")
            ready()
            stopped.wait()
            scheduler.close()
