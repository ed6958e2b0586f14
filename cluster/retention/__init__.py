"""How long stored answers and the files of what has ended stay, and their removal."""
