"""Clusters with their MTAs, domains and credentials; tokens of users."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

OWN = "cluster_id IS NULL AND deleted_at IS NULL"
LIVING = sa.text("deleted_at IS NULL")


def _moment(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, UtcDateTime(timezone=True), nullable=nullable)


def _unique(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    op.create_table(
        "cluster",
        sa.Column("id", sa.Uuid(), nullable=False),
        _moment("created_at"),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("slug", text, nullable=False),
        sa.Column("hostname", text, nullable=False),
        sa.Column("region", text, nullable=False),
        sa.Column("max_message_rate", text, nullable=True),
        _moment("updated_at"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_cluster_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
        sa.UniqueConstraint("slug", name=op.f("uq_cluster_slug")),
        sa.UniqueConstraint("hostname", name=op.f("uq_cluster_hostname")),
    )
    op.create_index(op.f("ix_cluster_workspace_id"), "cluster", ["workspace_id"])
    op.create_table(
        "credential",
        sa.Column("id", sa.Uuid(), nullable=False),
        _moment("created_at"),
        sa.Column("cluster_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, text, nullable=False) for name in ("username", "login", "password_hash")),
        sa.Column("allow_all_domains", sa.Boolean(), nullable=False),
        sa.Column("domains", sa.JSON(), nullable=False),
        sa.Column("allow_all_ips", sa.Boolean(), nullable=False),
        sa.Column("allowed_ips", sa.JSON(), nullable=False),
        _moment("updated_at"),
        _moment("deleted_at", nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_credential_cluster_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
    )
    op.create_index(op.f("ix_credential_cluster_id"), "credential", ["cluster_id"])
    _unique("uq_credential_login", "credential", ["cluster_id", "login"], LIVING)
    with op.batch_alter_table("host") as host:
        host.add_column(sa.Column("cluster_id", sa.Uuid(), nullable=True))
        host.add_column(_moment("joined_at", nullable=True))
        host.add_column(_moment("leaving_since", nullable=True))
        host.create_foreign_key(op.f("fk_host_cluster_id"), "cluster", ["cluster_id"], ["id"])
        host.create_index(op.f("ix_host_cluster_id"), ["cluster_id"])
    for name in ("uq_domain_proven", "uq_domain_workspace_name"):
        op.drop_index(name, "domain")
    with op.batch_alter_table("domain") as domain:
        domain.add_column(sa.Column("cluster_id", sa.Uuid(), nullable=True))
        domain.create_foreign_key(op.f("fk_domain_cluster_id"), "cluster", ["cluster_id"], ["id"])
    _unique("uq_domain_proven", "domain", ["name"], sa.text(f"verified_at IS NOT NULL AND {OWN}"))
    _unique("uq_domain_workspace_name", "domain", ["workspace_id", "name"], sa.text(OWN))
    _unique("uq_domain_cluster_name", "domain", ["cluster_id", "name"], LIVING)
    with op.batch_alter_table("apikey") as apikey:
        apikey.add_column(sa.Column("user_id", sa.Uuid(), nullable=True))
        apikey.create_index(op.f("ix_apikey_user_id"), ["user_id"])
