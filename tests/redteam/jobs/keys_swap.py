"""Ask the kernel to write one's memory out to swap, where it stays after the run."""

import ctypes
import mmap

from kit import LIBC, tell

MADV_PAGEOUT = 21


def run(inputs, outputs):
    def page_out():
        page = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.write(inputs.table()["name"][0].as_py().encode().ljust(4096) * 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        before = in_memory(address, len(page))
        if LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(len(page)), MADV_PAGEOUT) != 0:
            raise OSError(ctypes.get_errno(), "madvise")
        gone = before - in_memory(address, len(page))
        return f"{gone * 4 >> 10} MiB of rows in swap" if gone else None

    tell(outputs, page_out)


def in_memory(address, length):
    """Pages that are in memory (mincore(2))."""
    pages = ctypes.create_string_buffer(length // 4096)
    if LIBC.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), pages) != 0:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(byte & 1 for byte in pages.raw)
