"""Blocks, the parts that a graph is cut into: their arrays, as rows that travel, on disk, and opened again."""
