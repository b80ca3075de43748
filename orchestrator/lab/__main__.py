"""``python -m orchestrator.lab``: the command without the rest of Mailfleet."""

from orchestrator.lab.cli import lab

lab(prog_name="python -m orchestrator.lab")
