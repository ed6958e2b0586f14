"""One machine: everything that a cluster would bring, started and stopped as one product."""
