"""The fleet's administration, for its operator: read only."""

from api.operator.app import BASE_PATH, create_app

__all__ = ["BASE_PATH", "create_app"]
