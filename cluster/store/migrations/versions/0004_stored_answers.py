"""stored responses and chat completions"""

from alembic import op
import sqlalchemy as sa

revision = '0004'
down_revision = '0003'

def upgrade() -> None:
    op.create_table(
        'stored_responses',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('project_id', sa.String(length=255), nullable=False),
        sa.Column('key_id', sa.String(length=255), nullable=False),
        sa.Column('thread_id', sa.String(length=255), nullable=False),
        sa.Column('previous_id', sa.String(length=255), nullable=True),
        sa.Column('input', sa.JSON(), nullable=False),
        sa.Column('answer', sa.JSON(), nullable=False),
        sa.Column('bytes', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_index('ix_stored_responses_thread_id', 'stored_responses', ['thread_id'])
    op.create_index('ix_stored_responses_created_at', 'stored_responses', ['created_at'])
    op.create_table(
        'stored_completions',
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('project_id', sa.String(length=255), nullable=False),
        sa.Column('key_id', sa.String(length=255), nullable=False),
        sa.Column('model', sa.String(length=255), nullable=False),
        sa.Column('messages', sa.JSON(), nullable=False),
        sa.Column('answer', sa.JSON(), nullable=False),
        sa.Column('labels', sa.JSON(), nullable=False),
        sa.Column('bytes', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organizations.id']),
        sa.PrimaryKeyConstraint('organization_id', 'id'),
    )
    op.create_index('stored_completions_order', 'stored_completions', ['organization_id', 'created_at', 'id'])
    op.create_index('ix_stored_completions_created_at', 'stored_completions', ['created_at'])
    op.create_table(
        'stored_labels',
        sa.Column('organization_id', sa.String(length=255), nullable=False),
        sa.Column('completion_id', sa.String(length=255), nullable=False),
        sa.Column('key', sa.String(length=255), nullable=False),
        sa.Column('value', sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ['organization_id', 'completion_id'],
            ['stored_completions.organization_id', 'stored_completions.id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('organization_id', 'completion_id', 'key'),
    )
    op.create_index('stored_labels_pair', 'stored_labels', ['organization_id', 'key', 'value'])


def downgrade() -> None:
    op.drop_table('stored_labels')
    op.drop_table('stored_completions')
    op.drop_table('stored_responses')
