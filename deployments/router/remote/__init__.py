"""Requests that another provider answers: what it is sent, and what its answers become."""
