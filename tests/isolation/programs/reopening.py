"""Opens its input anew through /proc, which a sandbox may have, and tries to change it so."""

import contextlib
import json
import mmap
import os

from attacks import outcome


def rewrite(inputs, emit):
    """The input begins with "original"; only its mapping is left, and whatever descriptor still leads to it."""
    found = {"descriptors": 0, "written": 0, "mapped": 0}
    for number in range(64):
        with contextlib.suppress(OSError):
            if os.pread(number, 8, 0) != b"original":
                continue
            found["descriptors"] += 1
            again = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
            found["written"] += outcome(lambda again=again: os.pwrite(again, b"X", 0)) == "worked"
            found["mapped"] += outcome(lambda again=again: _mapped(again)) == "worked"
    emit("finding.json", "application/json", json.dumps(found).encode())


def session(inputs, emit, talk):
    """The same in a session, where the channel's descriptors stay open."""
    while talk.receive() is not None:
        kept = []
        rewrite(inputs, lambda name, kind, data, kept=kept: kept.append(data))
        talk.reply(json.loads(kept[0]))


def _mapped(number):
    """Write through a mapping, in a child: where the mapping is given and the writing is not, that kills."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            view = mmap.mmap(number, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            view[0:1] = b"X"
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise PermissionError(1, "not written")
