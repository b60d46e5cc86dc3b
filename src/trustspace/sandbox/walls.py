"""What a worker shuts behind itself before it does anything else; from then on nobody can open it again.

Inside bubblewrap the walls stand already, and Landlock is one more. Where there is no bubblewrap the worker loads the
filter itself, while it has one thread and has heard nothing from anybody: it closes its memory to other processes of
its user, gives up its rights to files, and then the system calls it does not need.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

from trustspace.sandbox import filters, landlock

PR_SET_DUMPABLE: Final = 4


def shut(ordered: dict[str, Any]) -> int:
    """Build the walls that are ordered; return the Landlock version used, 0 for none.

    ``landlock``: [read, scratch, write] for ``landlock.restrict``; ``filter``: a system call filter for
    ``filters.load``, there when nobody has loaded one for us. Raises OSError, RuntimeError or ValueError when one
    cannot be built.
    """
    alone = "filter" in ordered
    if alone:
        # Another thread would go on without what is given up here.
        if len(sys._current_frames()) != 1:
            raise RuntimeError("the worker must have one thread")
        # Nobody of the same user may look in, and no core is dumped (prctl(2), core(5)).
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    version = landlock.restrict(*ordered["landlock"]) if "landlock" in ordered else 0
    if alone:
        filters.load(ordered["filter"])
    return version
