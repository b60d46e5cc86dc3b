"""Open descriptors until it is refused, after raising the limit as far as it goes."""

import contextlib
import os
import resource

WANTED = 2000


def run(inputs, outputs):
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    opened = []
    with contextlib.suppress(OSError):
        while len(opened) < WANTED:
            opened.append(os.dup(1))
    for descriptor in opened:
        os.close(descriptor)
    detail = f"{len(opened)} descriptors at once"
    outputs.json("finding.json", {"worked": len(opened) >= WANTED, "detail": detail})
