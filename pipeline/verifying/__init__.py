"""Nodes computed again, and what float32 may do to them: what `verify` is made of."""
