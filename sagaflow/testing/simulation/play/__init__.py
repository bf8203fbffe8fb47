"""The simulator's own play: sagas of many shapes, participants that do what the seed wants, and all the checks."""
