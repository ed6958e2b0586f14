"""Models that answer a question as a whole."""
