"""Where a prepared graph is made: its directory, the tables that it was made of, places for a while."""
