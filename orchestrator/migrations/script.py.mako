"""${message}."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

import orchestrator.models

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    ${upgrades if upgrades else "pass"}
