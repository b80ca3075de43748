"""``python -m orchestrator.cli`` is ``mailfleet``."""

from orchestrator.cli import mailfleet

mailfleet(prog_name="mailfleet")
