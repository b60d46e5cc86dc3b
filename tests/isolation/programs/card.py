"""Programs that look into a GPU's memory: whether what one job left there is there for the next."""

import json

# Eight bytes that memory hardly holds by chance; most of the card is filled with them.
MARK = 0x5472_7573_7453_7061


def leave_a_mark(inputs, emit):
    """Fill what there is, give it back, and look at what new memory holds: the control."""
    import torch

    kept = list(_pieces(torch))
    for piece in kept:
        piece.fill_(MARK)
    torch.cuda.synchronize()
    del piece, kept
    torch.cuda.empty_cache()
    emit("finding.json", "application/json", json.dumps({"found in the same job": _found(torch)}).encode())


def look_for_the_mark(inputs, emit):
    import torch

    emit("finding.json", "application/json", json.dumps({"found": _found(torch)}).encode())


def _pieces(torch):
    """Most of the card's free memory, uninitialised."""
    free, _ = torch.cuda.mem_get_info()
    for _ in range(int(free * 0.9) >> 28):
        yield torch.empty(1 << 25, dtype=torch.int64, device="cuda")


def _found(torch):
    kept = []
    count = 0
    for piece in _pieces(torch):
        kept.append(piece)
        count += int((piece == MARK).sum())
    return count
