"""Requests that wait for a place in an engine."""
