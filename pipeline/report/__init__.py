"""What a run leaves for people: one page of HTML, and the same facts for programs."""
