"""Write past the declared size of the output, straight to where it is kept: real bytes, or a hole of a terabyte."""

import fcntl
import os
import stat

from kit import tell


def output_descriptor():
    """The memory or file that this process hands its results out in: regular, and open for writing."""
    for number in range(3, 256):
        try:
            regular = stat.S_ISREG(os.fstat(number).st_mode)
            if regular and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
                return number
        except OSError:
            continue
    raise FileNotFoundError


def run(inputs, outputs):
    def bomb():
        output = output_descriptor()
        before = os.fstat(output).st_size
        try:
            if inputs.arguments["what"] == "hole":
                os.ftruncate(output, 1 << 40)
            else:
                for number in range(64):
                    os.pwrite(output, b"\1" * (1 << 20), number << 20)
            grown = os.fstat(output).st_size
        finally:
            # Room for the word on how it went.
            os.ftruncate(output, before)
        return f"the output grew to {grown >> 20} MiB"

    tell(outputs, bomb)
