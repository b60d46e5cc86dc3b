"""Take a secret out of another process of the same user."""

import ctypes
import os

from kit import call, tell

ATTACH, PEEK, DETACH = 16, 2, 17


class Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def run(inputs, outputs):
    pid, where = inputs.arguments["pid"], int(inputs.arguments["where"])

    def trace():
        call("ptrace", ATTACH, pid, 0, 0)
        os.waitpid(pid, 0)
        secret = b""
        for offset in range(0, 32, 8):
            word = ctypes.c_ulong()
            # The call, unlike the function of the C library, writes what it reads to its last argument.
            call("ptrace", PEEK, pid, where + offset, ctypes.byref(word))
            secret += bytes(word)
        call("ptrace", DETACH, pid, 0, 0)
        return "stopped another process and read it", secret.rstrip(b"\0").decode()

    def read():
        mine = ctypes.create_string_buffer(31)
        local = Piece(ctypes.addressof(mine), 31)
        remote = Piece(where, 31)
        call("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
        return "copied another process's memory", mine.raw.decode()

    def write():
        changed = ctypes.create_string_buffer(b"forged")
        local = Piece(ctypes.addressof(changed), 6)
        remote = Piece(where, 6)
        call("process_vm_writev", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
        return "changed another process's memory"

    def steal():
        other = call("pidfd_open", pid, 0)
        number = call("pidfd_getfd", other, where, 0)
        return "took a descriptor of another process", os.pread(number, 100, 0).decode()

    def compare():
        seen = call("kcmp", os.getpid(), pid, 1, 0, 0)
        return f"the kernel's order of our memory and another process's: {seen}"

    def pages():
        status = ctypes.c_int(-1)
        page = ctypes.c_void_p(where & ~0xFFF)
        call("move_pages", pid, 1, ctypes.byref(page), None, ctypes.byref(status), 0)
        return "which of another process's pages are in memory" if status.value >= 0 else None

    ways = {"trace": trace, "read": read, "write": write, "steal": steal, "compare": compare, "pages": pages}
    tell(outputs, ways[inputs.arguments["what"]])
