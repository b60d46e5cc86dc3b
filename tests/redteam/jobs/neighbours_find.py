"""Take memory of many kinds as it comes, and look for the mark of a run before."""

import contextlib
import ctypes
import mmap
import os


def pieces():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    for size in (60_000, 4_000, 100):
        for _ in range(500):
            address = libc.malloc(size)
            yield ctypes.string_at(address, size)
    page = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    yield page[:]
    with contextlib.suppress(OSError):
        descriptor = os.memfd_create("found")
        os.ftruncate(descriptor, 16 << 20)
        yield os.pread(descriptor, 16 << 20, 0)
        os.close(descriptor)
    for folder in ("/tmp", "/dev/shm"):
        name = f"{folder}/grown-{os.getpid()}"
        with contextlib.suppress(OSError), open(name, "w+b") as file:
            os.unlink(name)
            file.truncate(16 << 20)
            yield file.read()


def run(inputs, outputs):
    mark = str(inputs.arguments["reversed"])[::-1].encode()
    searched = found = 0
    for piece in pieces():
        searched += len(piece)
        found += piece.count(mark)
    detail = f"{found} marks in {searched >> 20} MiB of fresh memory"
    outputs.json("finding.json", {"worked": found > 0, "detail": detail})
