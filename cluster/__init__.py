"""The control plane: tenants, keys, models, files, jobs and usage. Knows no HTTP and no Ray."""
