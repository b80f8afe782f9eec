"""Loops over arrays, compiled just in time. Knows NumPy and Numba: no Spark, no files, no graph classes."""
