"""Our own replicas: which one takes a request, and the way there."""
