"""The adbtd dialect: the native API (base path, key scheme, schemas, errors, translation)."""

from api.adbtd.app import BASE_PATH, create_app

__all__ = ["BASE_PATH", "create_app"]
