"""The public benchmark: the same load against Lorikeet and its neighbours, in one run."""
