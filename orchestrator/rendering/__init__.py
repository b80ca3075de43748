"""HostSpec → the files that make a Debian host be it: pure, from templates."""

from orchestrator.rendering.render import RenderingError, render
from orchestrator.rendering.templates import TemplateSet, built_in, read

__all__ = ["RenderingError", "TemplateSet", "built_in", "read", "render"]
