"""The tests of sagaflow."""
