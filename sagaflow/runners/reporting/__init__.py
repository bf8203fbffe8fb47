"""What people are told of sagas that fail.

`reports` is what a report says, in public values. `making` makes it, of the `history` of one saga and the `advice` that
the machine permits. `failing` finds the sagas that fail, and which alike, by their `fingerprints`.
"""
