"""What a probe and a pass tell of a host."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("host") as host:
        host.add_column(sa.Column("queue", sa.Integer(), nullable=True))
        host.add_column(sa.Column("load", sa.Float(), nullable=True))
        host.add_column(sa.Column("free_kib", sa.BigInteger(), nullable=True))
        host.add_column(sa.Column("clock_skew", sa.Float(), nullable=True))
    with op.batch_alter_table("run") as run:
        run.add_column(
            sa.Column(
                "owner", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default=""
            )
        )
    with op.batch_alter_table("domain") as domain:
        domain.create_index(domain.f("ix_domain_host_id"), ["host_id"])
