"""`explore`: what it finds, and that it finds it."""
