"""Training data: JSONL read line by line in constant memory, judged, measured, normalised."""
