"""The user's rows → blocks, step by step, in arrays: packed by block, checked, numbered, cut into tiles, answered with
send lists. No Spark: prepare.py carries the rows from one step to the next, or local.py does in one process."""
