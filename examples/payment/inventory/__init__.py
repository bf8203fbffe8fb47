"""Inventory: knows what is in stock, and holds it for those who ask."""
