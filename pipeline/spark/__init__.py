"""What knows of Spark's sessions and tasks: whose they are, where they run, what they see."""
