"""From the user's rows to blocks, step by step: pack, check, number, sort; and how a graph is put in place."""
