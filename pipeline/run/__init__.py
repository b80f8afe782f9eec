"""A run: computing all outputs, and writing them where they are to go."""
