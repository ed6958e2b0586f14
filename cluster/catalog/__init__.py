"""What can answer: base models, adapters and the names they are called by."""
