"""Search one's own memory for the key that the data was opened with.

There is no list of mappings to go by: from every object it knows, it walks up and down page by page, and lets the
kernel say where memory ends (write(2) to a pipe fails with EFAULT). The key is known masked only, so that the search
does not find itself.
"""

import ctypes
import gc
import os
import sys

MASK = 0x5A
TABLE = bytes(byte ^ MASK for byte in range(256))
LIBC = ctypes.CDLL(None, use_errno=True)
PIECE = 1 << 16
MOST = 768 << 20


def piece_at(reading, writing, address, size=PIECE):
    """The memory there, as far as it is mapped; empty where it is not."""
    got = LIBC.write(writing, ctypes.c_void_p(address), ctypes.c_size_t(size))
    return os.read(reading, got) if got > 0 else b""


def walk():
    """(address, bytes) of everything within reach of the objects that there are."""
    reading, writing = os.pipe()
    seen, total = set(), 0
    starts = {id(thing) & ~(PIECE - 1) for thing in gc.get_objects()}
    for module in list(sys.modules.values()):
        for thing in list(vars(module).values()):
            starts.add(id(thing) & ~(PIECE - 1))
    marker = ctypes.create_string_buffer(16)
    starts |= {ctypes.addressof(marker) & ~(PIECE - 1), id(marker) & ~(PIECE - 1)}
    for start in sorted(starts):
        for step in (PIECE, -PIECE):
            address = start if step > 0 else start - PIECE
            while address not in seen and total < MOST and address > 0:
                seen.add(address)
                piece = piece_at(reading, writing, address)
                if not piece:
                    # Not from its start; perhaps from a later page.
                    for page in range(4096, PIECE, 4096):
                        piece = piece_at(reading, writing, address + page, PIECE - page)
                        if piece:
                            yield address + page, piece
                            total += len(piece)
                    break
                total += len(piece)
                yield address, piece
                if len(piece) < PIECE:
                    break
                address += step


def search(masked):
    """How often what ``masked`` hides is there, and how much was searched."""
    found = searched = 0
    for _, piece in walk():
        searched += len(piece)
        found += piece.translate(TABLE).count(masked)
    return found, searched


def run(inputs, outputs):
    # The control of the search itself: something that is there is found.
    here = bytes.fromhex(str(inputs.arguments["here"]))
    kept = bytearray(byte ^ MASK for byte in here)
    found_here, _ = search(here)
    found, searched = search(bytes.fromhex(str(inputs.arguments["masked"])))
    detail = f"{found} copies of the data key in {searched >> 20} MiB"
    if not found_here or not kept:
        detail = "the search does not find what is there"
    outputs.json("finding.json", {"worked": found > 0 or not found_here, "detail": detail})
