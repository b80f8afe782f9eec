"""A program as its author wrote it becomes the program that is run: rewrites, and what judges them."""
