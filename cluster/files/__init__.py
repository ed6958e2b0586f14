"""Uploaded files: bytes in the artifact store, one row each."""
