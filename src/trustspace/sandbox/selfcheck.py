"""What a first sandbox must find of itself, compared with what it says (``inside``)."""

from __future__ import annotations

import os
from typing import Any

from trustspace.sandbox import layout


def weaknesses(seen: dict[str, Any], backend: str, *, user: int, landlock: bool) -> list[str]:
    """The walls that were ordered and are not there, by name, in alphabetical order.

    ``user`` is whom sandboxes run as on the host, ``landlock`` says that Landlock was ordered.
    """
    good = {
        "seccomp": seen.get("seccomp") == 2,
        "no_new_privs": seen.get("no_new_privs") == 1,
        "core dumps": seen.get("core_limit") == [1, 1],
        "network": seen.get("no_network") is True,
        "read-only root": seen.get("root_read_only") is True,
        "landlock": seen.get("root_closed") is True or not landlock,
    }
    if backend == "landlock":
        good |= {
            "user": seen.get("uid") == user != 0,
            "one process": seen.get("no_process") is True,
            "signals": seen.get("no_signal") is True,
            "scratch space": seen.get("no_scratch") is True,
            "closed memory": seen.get("dumpable") == 0,
        }
    else:
        good |= {
            "user": seen.get("uid") == layout.SANDBOX_ID,
            "capabilities": seen.get("capabilities") == 0,
        }
    if backend == "gvisor":
        good["own kernel"] = seen.get("kernel") not in (None, "", os.uname().release)
    return sorted(name for name, there in good.items() if not there)
