"""Sums of vectors of which nobody sees a part: fixed point, masks, and what is done with an opened sum.

Arrays in, arrays out: opens no file and no socket, reads no clock and starts no thread. Randomness comes
from ``os.urandom`` except in the private variants that the test vectors use.
"""
