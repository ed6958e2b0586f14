"""The command `lorikeet`: one file a noun."""
