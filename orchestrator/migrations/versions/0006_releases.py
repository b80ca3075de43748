"""Releases of the templates."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    op.create_table(
        "release",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", text, nullable=False),
        sa.Column("templates", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("since", UtcDateTime(timezone=True), nullable=False),
        sa.Column("proving_since", UtcDateTime(timezone=True), nullable=True),
        sa.Column("failed_host", text, nullable=True),
        sa.Column("message", text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
        sa.UniqueConstraint("number", name=op.f("uq_release_number")),
    )
    with op.batch_alter_table("host") as host:
        for name in ("release_id", "seen_release_id"):
            host.add_column(sa.Column(name, sa.Uuid(), nullable=True))
            host.create_foreign_key(host.f(f"fk_host_{name}"), "release", [name], ["id"])
