"""What only the command line needs: its options and their texts, its messages, a session of its own."""
