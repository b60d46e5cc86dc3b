"""Take what others left in memory and queues that belong to the whole host."""

import ctypes
import fcntl
import os

from kit import LIBC, call, tell


def segment(key):
    number = call("shmget", key, 0, 0)
    LIBC.shmat.restype = ctypes.c_void_p
    read_only = 0o10000
    address = LIBC.shmat(number, None, read_only)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "")
    return "read shared memory of the host", ctypes.string_at(address, 100).rstrip(b"\0").decode()


def queue(key):
    nowait = 0o4000
    message = ctypes.create_string_buffer(256)
    length = call("msgrcv", call("msgget", key, 0), message, 200, 0, nowait)
    return "took a message meant for others", message.raw[8 : 8 + length].decode()


def semaphore(key):
    set_value = 16
    call("semctl", call("semget", key, 0, 0), 0, set_value, 7)
    return "left a number with the kernel"


def posix_queue(name):
    number = call("mq_open", name.encode(), os.O_RDONLY | os.O_NONBLOCK)
    message = ctypes.create_string_buffer(8192)
    length = call("mq_timedreceive", number, message, 8192, None, None)
    return "took a message meant for others", message.raw[:length].decode()


def file(name):
    with open(f"/dev/shm/{name}", encoding="ascii") as shared:
        return "read shared memory of the host", shared.read()


def lock(path):
    """On a file that all runs can read: whether it is locked is a message from one to the other."""
    with open(path, "rb") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "locked a file that all runs see"


def mode(path):
    """Leave a number in the permissions of a file that is our user's, read or not."""
    os.chmod(path, 0o651)
    return "left a number in a file's permissions"


def cached(path):
    """Which pages of a common file lie in memory: whoever reads one tells whoever asks."""
    with open(path, "rb", buffering=0) as shared:
        no_wait = 8
        try:
            os.preadv(shared.fileno(), [bytearray(4096)], 0, no_wait)
        except BlockingIOError:
            return "nobody has read that page lately"
        return "somebody has read that page"


WAYS = {"segment": segment, "queue": queue, "semaphore": semaphore, "posix-queue": posix_queue, "file": file,
        "lock": lock, "mode": mode, "cached": cached}  # fmt: skip


def run(inputs, outputs):
    what, where = inputs.arguments["what"], inputs.arguments["where"]
    if what in ("lock", "cached"):
        # A file of the runtime, found where each of the two kinds of processes has it.
        where = os.__file__
    tell(outputs, lambda: WAYS[what](where))
