"""Look for somebody's password in what /proc shows of processes."""

import os
import re

from kit import tell

SOUGHT = re.compile(rb"canary-[0-9a-f]{24}")


def readable(names):
    """The content of these files of every process, and of our own."""
    pids = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    for pid in (*pids, "thread-self"):
        for name in names:
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    yield pid, file.read(1 << 20)
            except OSError:
                continue


def run(inputs, outputs):
    what = inputs.arguments["what"]

    def own():
        found = [value for value in os.environb.values() if SOUGHT.fullmatch(value)]
        return ("in our own environment", found[0].decode()) if found else None

    def others(name):
        found = set()
        for pid, content in readable([name]):
            if pid != "thread-self":
                found.update(match.decode() for match in SOUGHT.findall(content))
        return (f"in another process's {name}", " ".join(sorted(found))) if found else None

    tell(outputs, own if what == "own" else lambda: others(what))
