"""Where state is kept: SQL for the truth, Redis for hot state, fsspec for large bytes."""
