"""Mail below a directory of its workspace; what there is stays where it is."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    text = sqlmodel.sql.sqltypes.AutoString()
    column = sa.Column("directory", text, nullable=False, server_default="")
    with op.batch_alter_table("mailbox") as mailbox:
        mailbox.add_column(column)
    with op.batch_alter_table("mailbox") as mailbox:
        mailbox.alter_column("directory", server_default=None)
