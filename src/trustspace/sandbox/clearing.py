"""The program that overwrites a GPU's memory with zeros, run in a sandbox of its own between two jobs.

It takes all that is free, which is all that the last job can have left: that job's processes are dead, and nobody
else has this GPU. What the driver and this program's own context hold cannot be reached by any job's program either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

# Pieces, large ones first: what is left in the end is less than the smallest.
PIECES = (1 << 30, 64 << 20, 2 << 20)
# What may be left over or already taken: the context of this program, and pages too small to be given out.
MOST_TAKEN = 0.1
SPARE_BYTES = 64 << 20


def run(inputs: Mapping[str, memoryview], emit: Callable[[str, str, bytes], None]) -> None:
    """Overwrite the GPU's free memory, and say how much. Raises RuntimeError when too little could be reached."""
    import torch

    if torch.cuda.device_count() != 1:
        raise RuntimeError(f"{torch.cuda.device_count()} GPUs are in sight, not one")
    free, total = torch.cuda.mem_get_info()
    cleared = clear(torch, free, total)
    report = {"total": total, "free": free, "cleared": cleared}
    emit("clearing.json", "application/json", json.dumps(report, sort_keys=True).encode())
    print(f"overwrote {cleared >> 20} of {total >> 20} MiB of GPU memory", flush=True)


def clear(torch: Any, free: int, total: int) -> int:
    """Overwrite ``free`` bytes with zeros and return how many it were; they stay taken until the process ends."""
    if free < total * (1 - MOST_TAKEN):
        raise RuntimeError(f"only {free} of the GPU's {total} bytes are free: somebody else uses it")
    kept, cleared = [], 0
    for size in PIECES:
        while True:
            try:
                kept.append(torch.zeros(size, dtype=torch.uint8, device="cuda"))
            except torch.cuda.OutOfMemoryError:
                break
            cleared += size
    torch.cuda.synchronize()
    if cleared < free - SPARE_BYTES:
        raise RuntimeError(f"only {cleared} of {free} free bytes could be overwritten")
    return cleared
