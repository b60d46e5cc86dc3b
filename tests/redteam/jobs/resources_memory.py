"""Take 600 MiB of memory of one kind, page by page, and keep it."""

import mmap
import os

from kit import tell

WANTED_MIB = 600
PIECE = b"\1" * (1 << 20)


def private():
    page = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.write(PIECE)
    return page


def shared():
    page = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    page.write(PIECE)
    return page


def memory_file():
    # Each for itself stays below any limit on the size of a file.
    descriptor = os.memfd_create("bomb")
    os.write(descriptor, PIECE)
    page = mmap.mmap(descriptor, 1 << 20)
    os.close(descriptor)
    return page


def run(inputs, outputs):
    take = {"private": private, "shared": shared, "memfd": memory_file}[inputs.arguments["what"]]
    kept = []

    def bomb():
        while len(kept) < WANTED_MIB:
            kept.append(take())
        return f"{len(kept)} MiB taken and kept"

    tell(outputs, bomb)
