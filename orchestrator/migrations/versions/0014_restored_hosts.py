"""Hosts of a database that was restored from a backup."""

import sqlalchemy as sa
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("host") as host:
        host.add_column(sa.Column("restored_from", UtcDateTime(), nullable=True))
