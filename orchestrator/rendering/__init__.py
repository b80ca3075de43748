"""HostSpec → the files that make a Debian host be it: pure, from templates."""

from orchestrator.rendering.render import render

__all__ = ["render"]
