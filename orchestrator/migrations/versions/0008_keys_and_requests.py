"""Scoped keys, rates, recorded requests, settled orders, users."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString
    moment = UtcDateTime(timezone=True)
    with op.batch_alter_table("apikey") as key:
        key.add_column(
            sa.Column("scope", sa.String(length=32), nullable=False, server_default="full")
        )
        key.add_column(sa.Column("mailbox_id", sa.Uuid(), nullable=True))
        key.add_column(sa.Column("expires_at", moment, nullable=True))
        key.add_column(sa.Column("allowed_ips", sa.JSON(), nullable=False, server_default="[]"))
        key.add_column(sa.Column("rates", sa.JSON(), nullable=False, server_default="{}"))
        key.add_column(sa.Column("last_used_at", moment, nullable=True))
    with op.batch_alter_table("orders") as orders:
        orders.add_column(sa.Column("reason", text(), nullable=False, server_default=""))
        orders.add_column(sa.Column("settled_at", moment, nullable=True))
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("email", text(), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("password_hash", text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_users_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_index(op.f("ix_users_workspace_id"), "users", ["workspace_id"])
    op.create_table(
        "ratebucket",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", sa.String(length=32), nullable=False),
        sa.Column("full_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["apikey.id"], name=op.f("fk_ratebucket_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ratebucket")),
        sa.UniqueConstraint("key_id", "bucket", name=op.f("uq_ratebucket_key_id_bucket")),
    )
    op.create_index(op.f("ix_ratebucket_full_at"), "ratebucket", ["full_at"])
    op.create_table(
        "recordedrequest",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("digest", text(), nullable=False),
        sa.Column("claim", text(), nullable=False),
        sa.Column("claimed_at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("content_type", text(), nullable=False),
        sa.Column("body", text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["apikey.id"], name=op.f("fk_recordedrequest_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordedrequest")),
        sa.UniqueConstraint("key_id", "name", name=op.f("uq_recordedrequest_key_id_name")),
    )
    op.create_index(op.f("ix_recordedrequest_received_at"), "recordedrequest", ["received_at"])
