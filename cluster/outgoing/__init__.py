"""Calls to addresses that a tenant has chosen."""
