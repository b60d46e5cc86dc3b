"""Bytes in, bytes out: canonical JSON, signed statements, sealing, secret sharing and keys.

Opens no file and no socket and reads no clock. Randomness comes from ``os.urandom`` except in the
private variants that the test vectors use.
"""
