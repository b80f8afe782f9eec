"""What knows of Spark's sessions and tasks: whose they are, where they run, what they see.

A superstep becomes a Spark stage in run/stage.py (inside tasks) and infer.py (the frames).
"""
