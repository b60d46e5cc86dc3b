"""Change the data that a run was given: in its mapping, through a descriptor opened anew, by /proc/self/mem, in size."""

import ctypes
import mmap
import os

from kit import in_child, word_for

LIBC = ctypes.CDLL(None, use_errno=True)


def mapping(address, length):
    """Make the page writable, and write."""
    page, size = address & ~4095, (length + (address & 4095) + 4095) & ~4095
    if LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(size), 3) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memset(address, 0x58, 1)


def own_memory(address, length):
    """The kernel writes through /proc/self/mem what the process itself may not."""
    with open("/proc/self/mem", "r+b", buffering=0) as file:
        file.seek(address)
        file.write(b"X")
    if ctypes.string_at(address, 1) != b"X":
        raise OSError(5, "not written")


def _inputs(size):
    """Descriptors of an input's size: those there are, and the mapping's own file."""
    for number in range(3, 256):
        try:
            if os.fstat(number).st_size == size:
                yield number
        except OSError:
            continue


def reopened(address, length):
    """A descriptor that is read-only, opened once more for writing."""
    found = OSError(2, "no input")
    folders = [f"/proc/self/fd/{number}" for number in range(3, 256)]
    try:
        folders += [f"/proc/self/map_files/{name}" for name in os.listdir("/proc/self/map_files")]
    except OSError as error:
        found = error
    for path in folders:
        try:
            if os.stat(path).st_size != length:
                continue
        except OSError:
            continue
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            found = error
            continue
        try:
            os.pwrite(descriptor, b"X", 0)
            return
        except OSError as error:
            found = error
        finally:
            os.close(descriptor)
    raise found


def growth(address, length):
    """Longer and shorter: what others map then faults, or is not what was signed."""
    found = OSError(2, "no input")
    for number in _inputs(length):
        try:
            os.ftruncate(number, length + 1)
            return
        except OSError as error:
            found = error
    # The descriptor is closed already; the mapping is all there is.
    page, size = address & ~4095, (length + 4095) & ~4095
    if LIBC.mremap(ctypes.c_void_p(page), size, size + mmap.PAGESIZE, 1) in (-1, 0xFFFFFFFF):
        raise found
    raise found


WAYS = {"mapping": mapping, "memory": own_memory, "reopened": reopened, "growth": growth}


def attempt(way, address, length):
    """How it went: "" for done, else the error's name. In a child, which a refusal may kill."""
    try:
        in_child(lambda: WAYS[way](address, length))
    except (OSError, RuntimeError) as error:
        return word_for(error) if isinstance(error, OSError) else str(error)
    return ""


def run(inputs, outputs):
    column = inputs.table().column(1).chunk(0)
    buffer = column.buffers()[1]
    before = column.to_pylist()
    said = attempt(str(inputs.arguments["way"]), buffer.address, int(inputs.arguments["length"]))
    changed = inputs.table().column(1).chunk(0).to_pylist() != before
    worked = not said if inputs.arguments["way"] in ("reopened", "growth") else changed
    outputs.json("finding.json", {"worked": worked, "detail": said or "written"})
