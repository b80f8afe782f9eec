"""The user's tables before anything is made of them: files, which column is what, who sees them, how large they are."""
