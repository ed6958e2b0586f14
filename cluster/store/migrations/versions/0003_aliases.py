"""aliases"""

from alembic import op
import sqlalchemy as sa

revision = '0003'
down_revision = '0002'

def upgrade() -> None:
    op.create_table(
        'aliases',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('name', sa.String(length=255), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_index('aliases_name', 'aliases', ['organization_id', 'name'], unique=True)
    op.create_table(
        'alias_versions',
        sa.Column('alias_id', sa.String(length=255), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('targets', sa.JSON(), nullable=False),
        sa.Column('sticky', sa.String(length=255), nullable=False),
        sa.Column('restores', sa.Integer(), nullable=True),
        sa.Column('key_id', sa.String(length=255), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['alias_id'], ['aliases.id'], ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('alias_id', 'version'),
    )


def downgrade() -> None:
    op.drop_table('alias_versions')
    op.drop_index('aliases_name', 'aliases')
    op.drop_table('aliases')
