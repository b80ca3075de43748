"""Rotation of DKIM keys, and the ledger of published records."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

import orchestrator.models

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    """To this revision."""
    moment = orchestrator.models.UtcDateTime(timezone=True)
    text = sqlmodel.sql.sqltypes.AutoString
    with op.batch_alter_table("dkimkey") as key:
        key.add_column(sa.Column("seen_at", moment, nullable=True))
        key.add_column(sa.Column("activated_at", moment, nullable=True))
        key.add_column(sa.Column("retired_at", moment, nullable=True))
        key.create_index(
            "uq_dkimkey_pending",
            ["domain_id"],
            unique=True,
            sqlite_where=PENDING,
            postgresql_where=PENDING,
        )
    # Until now every key has signed from its beginning.
    op.execute("UPDATE dkimkey SET activated_at = created_at")
    op.create_table(
        "publishedrecord",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("zone_id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("type", text(), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.Column("withdraw_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["zone_id"], ["zone.id"], name=op.f("fk_publishedrecord_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publishedrecord")),
        sa.UniqueConstraint(
            "zone_id",
            "name",
            "type",
            "value",
            name=op.f("uq_publishedrecord_zone_id_name_type_value"),
        ),
    )
    with op.batch_alter_table("publishedrecord") as record:
        record.create_index(record.f("ix_publishedrecord_subject_id"), ["subject_id"])
        record.create_index(record.f("ix_publishedrecord_withdraw_at"), ["withdraw_at"])
