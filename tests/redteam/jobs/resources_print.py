"""Print 32 MiB."""

import sys

from kit import tell


def run(inputs, outputs):
    for _ in range(32 * 1024):
        sys.stdout.write("x" * 1023 + "\n")
    tell(outputs, lambda: "printed")
