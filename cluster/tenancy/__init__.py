"""Organizations, projects, keys, plans and what they are allowed."""
