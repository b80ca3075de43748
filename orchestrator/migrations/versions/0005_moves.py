"""Hosts that drain, addresses that move."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString
    with op.batch_alter_table("host") as host:
        host.add_column(sa.Column("pause_reason", text(), nullable=False, server_default=""))
        host.add_column(
            sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_table(
        "move",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("target_taken", sa.Boolean(), nullable=False),
        sa.Column("ignore_dns", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("settling_since", UtcDateTime(), nullable=True),
        sa.Column("unnamed_since", UtcDateTime(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("claim", text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("message", text(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_move_workspace_id")
        ),
        sa.ForeignKeyConstraint(["source_id"], ["address.id"], name=op.f("fk_move_source_id")),
        sa.ForeignKeyConstraint(["target_id"], ["address.id"], name=op.f("fk_move_target_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_move")),
    )
    with op.batch_alter_table("move") as move:
        for column in ("workspace_id", "source_id", "target_id", "due_at"):
            move.create_index(move.f(f"ix_move_{column}"), [column])
    op.create_table(
        "relocation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("move_id", sa.Uuid(), nullable=False),
        sa.Column("mailbox_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=True),
        sa.Column("listing", text(), nullable=True),
        sa.ForeignKeyConstraint(["move_id"], ["move.id"], name=op.f("fk_relocation_move_id")),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_relocation_mailbox_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relocation")),
        sa.UniqueConstraint("move_id", "mailbox_id", name=op.f("uq_relocation_move_id_mailbox_id")),
    )
    with op.batch_alter_table("relocation") as relocation:
        relocation.create_index(relocation.f("ix_relocation_mailbox_id"), ["mailbox_id"])
