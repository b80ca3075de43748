"""Registrars: where domains are bought. They know no database."""
