"""A run: what it opens, and how it is known to be what was prepared."""
