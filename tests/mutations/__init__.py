"""Bugs that are put into the code on purpose, to see that the tests notice: they measure the tests.

    python -m tests.mutations              puts in each bug in turn; exit code 0 if every one was caught
    python -m tests.mutations fence undo   only those whose name has one of these words
    python -m tests.mutations --list       the names

Each is put into a copy of the tree, and the tests that should notice run there until the first fails.
"""
