"""How long the files of what has ended stay, and their removal."""
