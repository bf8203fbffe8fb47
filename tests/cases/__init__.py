"""The corner cases of docs/guarantees.md, a test named after each: first on the bare machine, then over servers."""
