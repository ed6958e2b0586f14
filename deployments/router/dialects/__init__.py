"""One folder per API: routes, shapes and errors; nothing else."""
