"""connections"""

from alembic import op
import sqlalchemy as sa

revision = '0006'
down_revision = '0005'

def upgrade() -> None:
    op.create_table(
        'connections',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('name', sa.String(length=255), nullable=False),
        sa.Column('protocol', sa.String(length=255), nullable=False),
        sa.Column('base_url', sa.Text(), nullable=False),
        sa.Column('secret', sa.Text(), nullable=True),
        sa.Column('headers', sa.Text(), nullable=True),
        sa.Column('header_names', sa.JSON(), nullable=False),
        sa.Column('models', sa.JSON(), nullable=False),
        sa.Column('timeout', sa.Float(), nullable=False),
        sa.Column('enabled', sa.Boolean(), nullable=False),
        sa.Column('key_id', sa.String(length=255), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('secret_changed_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_index('connections_name', 'connections', ['organization_id', 'name'], unique=True)


def downgrade() -> None:
    op.drop_index('connections_name', 'connections')
    op.drop_table('connections')
