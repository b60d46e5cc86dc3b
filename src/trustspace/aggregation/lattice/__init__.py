"""The lattice sum: ring-LWE encryption under fresh keys whose sums decrypt under the sum of the keys.

``parameters`` has the numbers, ``reference`` is the specification of every byte, ``backend`` picks what
computes it here, ``keys`` is how members put the sum of their secrets together, and ``scheme`` makes it a way to
protect a sum like any other.
"""
