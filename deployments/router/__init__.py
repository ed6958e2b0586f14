"""The ingress: eight steps from a request's first byte to its usage event."""
