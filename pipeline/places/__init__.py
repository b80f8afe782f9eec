"""Where data lies: paths and URIs, who of them is inside of whom, what is ours, and who is writing there."""
