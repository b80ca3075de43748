"""Mailfleet: a control plane for dedicated-IP e-mail."""

__version__ = "0.1.0"
