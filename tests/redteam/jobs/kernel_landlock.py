"""Landlock lets everybody add rules: add one that allows everything, and read the host's file."""

import ctypes
import os
import struct

from kit import LIBC, call, tell


def run(inputs, outputs):
    def relax():
        rights = (1 << 13) - 1
        try:
            rules = call("landlock_create_ruleset", struct.pack("=Q", rights), 8, 0)
            root = os.open("/", os.O_PATH)
            LIBC.syscall(ctypes.c_long(445), rules, 1, struct.pack("=Qi", rights, root), 0)
            LIBC.prctl(38, 1, 0, 0, 0)
            LIBC.syscall(ctypes.c_long(446), rules, 0)
        except OSError:
            rules = -1
        with open(inputs.arguments["path"], encoding="ascii") as file:
            return "read a file of the host", file.read()

    tell(outputs, relax)
