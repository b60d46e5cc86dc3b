"""Fill memory of many kinds with a mark, and end without wiping any of it."""

import contextlib
import ctypes


def run(inputs, outputs):
    mark = str(inputs.arguments["reversed"])[::-1].encode()
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    block = (mark * (60_000 // len(mark) + 1))[:60_000]
    blocks = [libc.malloc(60_000) for _ in range(500)]
    for address in blocks:
        ctypes.memmove(address, block, len(block))
    for folder in ("/tmp", "/dev/shm"):
        with contextlib.suppress(OSError), open(f"{folder}/left", "wb") as file:
            file.writelines(block for _ in range(100))
    for address in blocks:
        libc.free(address)
    outputs.json("finding.json", {"worked": True, "detail": "left"})
