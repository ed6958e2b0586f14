"""virtual models, and copies of requests to a shadow"""

from alembic import op
import sqlalchemy as sa

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.create_table(
        'virtual_models',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('project_id', sa.String(length=255), nullable=False),
        sa.Column('name', sa.String(length=255), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('strategy', sa.String(length=255), nullable=False),
        sa.Column('targets', sa.JSON(), nullable=False),
        sa.Column('defaults', sa.JSON(), nullable=False),
        sa.Column('fixed', sa.JSON(), nullable=False),
        sa.Column('system_prompt', sa.Text(), nullable=True),
        sa.Column('patience', sa.Float(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id']),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_index('virtual_models_name', 'virtual_models', ['project_id', 'name'], unique=True)
    op.create_index('ix_virtual_models_organization_id', 'virtual_models', ['organization_id'])
    op.add_column('alias_versions', sa.Column('shadow', sa.JSON(none_as_null=True), nullable=True))
    op.add_column('usage_events', sa.Column('shadow_of', sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column('usage_events', 'shadow_of')
    op.drop_column('alias_versions', 'shadow')
    op.drop_table('virtual_models')
