"""Mailfleet on a lab that is up: settings, enrolment, its processes, and a tenant's first mail."""

from pathlib import Path

from orchestrator.lab import control_plane, demo, enrol
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.lab.up import INFO


def demonstrate(state_dir: Path, topology: Topology, reporter: Reporter) -> list[demo.Proof]:
    """Start Mailfleet on the lab and have a tenant send and receive from every host.

    Harmless when it is running already: it is started anew, on the database that is there.

    :raises LabError: when a part does not come up or does not converge in time.
    """
    state = State.open(state_dir)
    with state.lock():
        with reporter.stage("enrolment"):
            options = control_plane.configure(state, topology)
            enrol.enrol(state, topology, options)
        with reporter.stage("control plane"):
            control_plane.start(state, options)
        url = f"http://{options.api_host}:{options.api_port}"
        token = state.path(enrol.KEY_FILE).read_text().strip()
        operator = state.password(control_plane.OPERATOR_TOKEN_FILE)
        tokens = {"adbtd": token, "unmta": state.path(enrol.USER_KEY_FILE).read_text().strip()}
        state.merge_json(INFO, {"api": url, "operator_token": operator, "keys": tokens})
        with reporter.stage("first mail"):
            return demo.run(state, topology, url, token, reporter.note)
