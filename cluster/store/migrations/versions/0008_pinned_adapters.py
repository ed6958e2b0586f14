"""pinned adapters"""

from alembic import op
import sqlalchemy as sa

revision = '0008'
down_revision = '0007'

def upgrade() -> None:
    op.add_column(
        'adapters', sa.Column('pinned', sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    with op.batch_alter_table('adapters', schema=None) as batch_op:
        batch_op.drop_column('pinned')
