"""Retrieval over a team's own documents, built on embeddings."""
