"""What knows of a Spark session: the file systems that it reaches."""
