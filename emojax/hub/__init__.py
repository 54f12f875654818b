"""Published models: where their files are, and the names of their weights."""
