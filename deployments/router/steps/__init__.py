"""The life of a request, a file each."""
