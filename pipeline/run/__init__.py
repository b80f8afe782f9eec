"""What carries a run out, in whichever process it runs, and what it opens."""
