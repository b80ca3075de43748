"""The unMTA dialect: clusters, their domains and SMTP credentials."""

from api.unmta.app import BASE_PATH, create_app

__all__ = ["BASE_PATH", "create_app"]
