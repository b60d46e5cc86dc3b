"""Overflow the interpreter's stack: no exception, the process dies."""

import sys


def deeper(_=None):
    return sorted([1], key=deeper)


def run(inputs, outputs):
    sys.setrecursionlimit(10**9)
    deeper()
