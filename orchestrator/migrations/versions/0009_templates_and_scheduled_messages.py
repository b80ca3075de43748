"""Templates and scheduled messages."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    op.create_table(
        "template",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("subject", text, nullable=False),
        sa.Column("text", text, nullable=True),
        sa.Column("html", text, nullable=True),
        sa.Column("updated_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_template_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_template_workspace_id_name")),
    )
    op.create_table(
        "scheduledmessage",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("mailbox_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", text, nullable=False),
        sa.Column("send_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("due_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("claim", text, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("content", text, nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("response", text, nullable=False),
        sa.Column("accepted", sa.JSON(), nullable=False),
        sa.Column("rejected", sa.JSON(), nullable=False),
        sa.Column("refusals", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_scheduledmessage_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_scheduledmessage_mailbox_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduledmessage")),
    )
    with op.batch_alter_table("scheduledmessage") as table:
        for column in ("workspace_id", "mailbox_id", "due_at"):
            table.create_index(table.f(f"ix_scheduledmessage_{column}"), [column])
