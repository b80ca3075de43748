"""The pool's reputation and history; domains that are bought."""

from datetime import UTC, datetime

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    time = UtcDateTime(timezone=True)
    op.create_table(
        "addressevent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("ip", text, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("host", text, nullable=False),
        sa.Column("workspace", text, nullable=True),
        sa.Column("detail", text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_addressevent")),
    )
    op.create_index(op.f("ix_addressevent_ip"), "addressevent", ["ip"])
    op.create_table(
        "registration",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("years", sa.Integer(), nullable=False),
        sa.Column("reference", text, nullable=False),
        sa.Column("expires_at", time, nullable=True),
        sa.Column("reason", text, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due_at", time, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_registration_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration")),
    )
    op.create_index(op.f("ix_registration_due_at"), "registration", ["due_at"])
    op.create_index(op.f("ix_registration_workspace_id"), "registration", ["workspace_id"])
    held = sa.text("state <> 'failed'")
    op.create_index(
        "uq_registration_held",
        "registration",
        ["name"],
        unique=True,
        sqlite_where=held,
        postgresql_where=held,
    )
    address = sa.table("address", sa.column("reputation_due_at", time))
    with op.batch_alter_table("address") as table:
        table.add_column(sa.Column("reputation_due_at", time, nullable=True))
        table.add_column(sa.Column("quarantine_reason", text, nullable=False, server_default=""))
        table.add_column(
            sa.Column(
                "quarantined_by_hand", sa.Boolean(), nullable=False, server_default=sa.false()
            )
        )
        table.add_column(sa.Column("delisted_at", time, nullable=True))
    op.get_bind().execute(address.update().values(reputation_due_at=datetime.now(UTC)))
    with op.batch_alter_table("address") as table:
        table.alter_column("reputation_due_at", nullable=False, existing_type=time)
        table.alter_column("quarantine_reason", server_default=None, existing_type=text)
        table.alter_column("quarantined_by_hand", server_default=None, existing_type=sa.Boolean())
        table.create_index(table.f("ix_address_reputation_due_at"), ["reputation_due_at"])
