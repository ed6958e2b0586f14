"""Answers that are kept for their callers: responses, and chat completions."""
