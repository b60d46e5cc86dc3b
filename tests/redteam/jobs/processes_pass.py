"""Hand an open descriptor to another process over a local pair (SCM_RIGHTS)."""

import os
import socket

from kit import tell


def run(inputs, outputs):
    def hand_over():
        one, other = socket.socketpair()
        with open(os.devnull, "rb") as file:
            socket.send_fds(one, [b"x"], [file.fileno()])
        _, descriptors, _, _ = socket.recv_fds(other, 1, 1)
        return "a descriptor changed hands" if descriptors else None

    tell(outputs, hand_over)
