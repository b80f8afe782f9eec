"""The columns of the rows that travel between blocks, named once.

A row that travels is a piece of one array, of at most CHUNK_BYTES. All of the graph's static parts, the payloads and
the carried state share this one schema, so one shuffle carries them all.
"""

from __future__ import annotations

TARGET = "target"  # int: the block that the row belongs to
SOURCE = "source"  # int: the block at the other end of a tile or a send list, or LOOPS; else the block itself
KIND = "kind"  # string: what the array is, see blocks.py
NAME = "name"  # string: which one, e.g. a column's name
DTYPE = "dtype"  # string: NumPy's name of the element type, little-endian, e.g. "<f4"
WIDTH = "width"  # int: 0 for a vector, else the second dimension of a matrix
PART = "part"  # int: position of the chunk within the array
DATA = "data"  # binary: whole rows of the array, C order

ROW_COLUMNS = (TARGET, SOURCE, KIND, NAME, DTYPE, WIDTH, PART, DATA)
ROW_DDL = (
    f"{TARGET} int, {SOURCE} int, {KIND} string, {NAME} string, {DTYPE} string, {WIDTH} int, {PART} int, {DATA} binary"
)

# 1 MB chunks are the fastest through the JVM: 200-270 MB/s, where rows of 8-100 MB are much slower.
CHUNK_BYTES = 1 << 20

# Number formats of what blocks send to each other (wire.py).
WIRES = ("float32", "float16", "bfloat16")
