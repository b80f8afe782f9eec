"""A whole job, given by paths: what is refused before anything starts, Spark or none, what is prepared on the fly.

What a command does between its options and its last line, for all entry points. Knows neither options nor the
environment.
"""
