"""The table of results: its rows and columns, its files, and how it is put in place whole."""
