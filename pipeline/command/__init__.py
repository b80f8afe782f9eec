"""What only the command line needs: its options, its messages, raw tables by their paths, a session of its own."""
