"""What tenants pay for."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    op.create_table(
        "billingaccount",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("customer", text, nullable=False),
        sa.Column("standing", sa.String(length=32), nullable=False),
        sa.Column("subscriptions", sa.JSON(), nullable=False),
        sa.Column("checkout_url", text, nullable=True),
        sa.Column("checkout_until", UtcDateTime(timezone=True), nullable=True),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("settled_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("message", text, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_billingaccount_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billingaccount")),
        sa.UniqueConstraint("customer", name=op.f("uq_billingaccount_customer")),
        sa.UniqueConstraint("workspace_id", name=op.f("uq_billingaccount_workspace_id")),
    )
    op.create_index(op.f("ix_billingaccount_due_at"), "billingaccount", ["due_at"])
