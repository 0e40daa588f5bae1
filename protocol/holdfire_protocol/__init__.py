"""What is on the wire. Pure: bytes and integers in and out; the same files run on MicroPython and CPython.

Does no input or output, reads no clock, draws no randomness, uses no floats, and holds no keys: signing and verifying
are passed in by the caller. `SPEC.md` beside this package is the prose.
"""
