"""What runs on either side of the wall: programs for a sandbox, and the same as a process of its own.

As a process (``python probe.py WHAT ...``) it says on its output when it is ready, does what a line of its input
names, and says when it was done, in nanoseconds since 1970: the clock that gVisor's kernel has in common with the
host's.
"""

import json
import mmap
import os
import sys
import time


def _said(emit, moments):
    emit("moments.json", "application/json", json.dumps(moments).encode())


def _touch(view):
    """Read a byte of every page, as reading it all would fault every page in."""
    first = view[0] if len(view) else 0
    begun = time.time_ns()
    total = sum(view[:: mmap.PAGESIZE])
    return {"first": begun, "last": time.time_ns(), "sum": total + first - first}


def nothing(inputs, emit):
    """A task that does nothing."""
    _said(emit, {"first": time.time_ns()})


def torch(inputs, emit):
    """A task that needs torch."""
    import torch as _  # noqa: F401

    _said(emit, {"first": time.time_ns()})


def touch(inputs, emit):
    """Read all of the input's pages."""
    _said(emit, _touch(inputs["data"]))


def train(parameters, data):
    """The platform's own training, on files, by a process without walls."""
    from trustspace.jobs.training import run

    with open(parameters, "rb") as first, open(data, "rb") as second:
        inputs = {
            "parameters": memoryview(first.read()),
            "data": memoryview(mmap.mmap(second.fileno(), 0, access=mmap.ACCESS_READ)),
        }
        run(inputs, lambda name, kind, content: None)


def map_and_touch(path):
    """Map a file, or a descriptor that was inherited, and read all of its pages."""
    with open(path, "rb") as file:
        return _touch(memoryview(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)))


def main():
    """Do one thing, at once or when told."""
    what, *given = sys.argv[1:]
    if what == "touch":
        print("ready", flush=True)
        path = sys.stdin.readline().strip()
        print(json.dumps(map_and_touch(path)), flush=True)
    elif what == "train":
        train(*given)
    elif what == "torch":
        import torch as _  # noqa: F401
    sys.stdout.flush()
    # As a worker ends: without taking the libraries down first.
    os._exit(0)


if __name__ == "__main__":
    main()
