"""The system under stress: orders are placed, stock is reserved and labelled, money is set aside and taken."""
