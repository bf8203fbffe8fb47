"""What is particular to one adapter."""
