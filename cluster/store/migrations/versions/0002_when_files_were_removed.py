"""when files were removed"""

from alembic import op
import sqlalchemy as sa

revision = '0002'
down_revision = '0001'

def upgrade() -> None:
    for table in ('adapters', 'jobs'):
        op.add_column(table, sa.Column('files_removed_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for table in ('adapters', 'jobs'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column('files_removed_at')
