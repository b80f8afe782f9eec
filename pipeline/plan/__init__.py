"""From a program to its supersteps: levels, rewrites, what is carried and what is shipped."""
