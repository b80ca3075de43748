"""Certificates by ACME."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import sqlmodel
from alembic import op
from uuid_utils.compat import uuid7

import orchestrator.models

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = orchestrator.models.UtcDateTime
_TEXT = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "acmeaccount",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME(timezone=True), nullable=False),
        sa.Column("directory_url", _TEXT(), nullable=False),
        sa.Column("private_key", _TEXT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acmeaccount")),
        sa.UniqueConstraint("directory_url", name=op.f("uq_acmeaccount_directory_url")),
    )
    issuance = op.create_table(
        "issuance",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME(timezone=True), nullable=False),
        sa.Column("host_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("due_at", _TIME(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("message", _TEXT(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_issuance_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuance")),
        sa.UniqueConstraint("host_id", name=op.f("uq_issuance_host_id")),
    )
    op.create_index(op.f("ix_issuance_due_at"), "issuance", ["due_at"])
    with op.batch_alter_table("certificate") as certificate:
        certificate.add_column(
            sa.Column("source", sa.String(length=32), nullable=False, server_default="authority")
        )
        certificate.add_column(sa.Column("renew_at", _TIME(timezone=True), nullable=True))
    connection = op.get_bind()
    rows = sa.table(
        "certificate",
        sa.column("id", sa.Uuid()),
        sa.column("host_id", sa.Uuid()),
        sa.column("not_after", _TIME(timezone=True)),
        sa.column("renew_at", _TIME(timezone=True)),
    )
    now = datetime.now(UTC)
    hosts = set()
    for key, host_id, not_after in connection.execute(
        sa.select(rows.c.id, rows.c.host_id, rows.c.not_after)
    ).all():
        # All of them are the CA's, for 90 days.
        renewal = rows.update().where(rows.c.id == key)
        connection.execute(renewal.values(renew_at=not_after - timedelta(days=30)))
        hosts.add(host_id)
    for host_id in hosts:
        row = {"id": uuid7(), "created_at": now, "host_id": host_id, "due_at": now}
        asked = {"source": "authority", "names": [], "failures": 0, "message": ""}
        connection.execute(issuance.insert().values(**row, **asked))
    with op.batch_alter_table("certificate") as certificate:
        certificate.alter_column("renew_at", nullable=False, existing_type=_TIME(timezone=True))
        certificate.alter_column("source", server_default=None, existing_type=sa.String(length=32))
