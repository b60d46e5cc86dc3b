"""What protected sums cost for each parameter, beside other people's libraries and a plain addition.

``python -m benchmarks.aggregation``: see ``__main__``.
"""
