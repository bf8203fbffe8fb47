"""Payments: takes money from cards and gives it back, through the gateway of another company."""
