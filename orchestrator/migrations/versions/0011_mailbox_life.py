"""Mailboxes that are suspended, aliases, mail that is removed with its mailbox."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from orchestrator.models import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    with op.batch_alter_table("mailbox") as mailbox:
        for name in ("login_since", "suspended_at", "purge_since"):
            mailbox.add_column(sa.Column(name, UtcDateTime(timezone=True), nullable=True))
    purged = sa.text("purge_since IS NOT NULL")
    op.create_index(
        "ix_mailbox_purged", "mailbox", ["email"], sqlite_where=purged, postgresql_where=purged
    )
    op.create_table(
        "alias",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("mailbox_id", sa.Uuid(), nullable=False),
        sa.Column("domain_id", sa.Uuid(), nullable=False),
        sa.Column("email", text, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name=op.f("fk_alias_workspace_id")
        ),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_alias_mailbox_id")),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_alias_domain_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias")),
        sa.UniqueConstraint("email", "workspace_id", name=op.f("uq_alias_email_workspace_id")),
    )
    with op.batch_alter_table("alias") as alias:
        for column in ("mailbox_id", "domain_id"):
            alias.create_index(alias.f(f"ix_alias_{column}"), [column])
