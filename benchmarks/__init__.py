"""How fast it is. See README.md here."""
