"""Type words into a terminal, as if its owner had."""

import fcntl
import os
import pty
import select
import struct
import termios

from kit import in_child, tell


def inject():
    os.setsid()
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for letter in b"id\n":
        fcntl.ioctl(terminal, termios.TIOCSTI, struct.pack("B", letter))
    ready, _, _ = select.select([terminal], [], [], 5)
    return "typed a command" if ready and os.read(terminal, 10) == b"id\n" else None


def run(inputs, outputs):
    tell(outputs, lambda: in_child(inject))
