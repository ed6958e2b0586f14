"""prices and budgets"""

from alembic import op
import sqlalchemy as sa

revision = '0005'
down_revision = '0004'

def upgrade() -> None:
    op.add_column('organizations', sa.Column('budget', sa.JSON(), nullable=True))
    op.add_column('api_keys', sa.Column('models', sa.JSON(), nullable=True))
    op.add_column('api_keys', sa.Column('limits', sa.JSON(), nullable=True))
    op.add_column('api_keys', sa.Column('budget', sa.JSON(), nullable=True))
    op.create_table(
        'prices',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('model', sa.String(length=255), nullable=False),
        sa.Column('input', sa.BigInteger(), nullable=False),
        sa.Column('cached_input', sa.BigInteger(), nullable=False),
        sa.Column('output', sa.BigInteger(), nullable=False),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('key_id', sa.String(length=255), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_index(
        'prices_moment', 'prices', ['organization_id', 'model', 'valid_from'], unique=True
    )
    op.add_column(
        'usage_events', sa.Column('cost', sa.BigInteger(), server_default='0', nullable=False)
    )
    op.drop_index('ix_usage_events_organization_id', 'usage_events')
    op.create_index(
        'usage_events_of_organization', 'usage_events', ['organization_id', 'started_at']
    )
    op.create_index('usage_events_of_key', 'usage_events', ['key_id', 'started_at'])


def downgrade() -> None:
    op.drop_index('usage_events_of_key', 'usage_events')
    op.drop_index('usage_events_of_organization', 'usage_events')
    op.create_index('ix_usage_events_organization_id', 'usage_events', ['organization_id'])
    op.drop_column('usage_events', 'cost')
    op.drop_index('prices_moment', 'prices')
    op.drop_table('prices')
    op.drop_column('api_keys', 'budget')
    op.drop_column('api_keys', 'limits')
    op.drop_column('api_keys', 'models')
    op.drop_column('organizations', 'budget')
