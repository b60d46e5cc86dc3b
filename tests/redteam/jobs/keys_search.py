"""Search whole other processes for a key: their memory, arguments and environment; then make them write it to disk."""

import os
import signal
import time

from kit import word_for


def memory(pid, key):
    """Through /proc/PID/mem, mapping by mapping."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        ranges = [line.split()[0].split("-") for line in maps if " rw" in line]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for begin, end in ranges:
            start, stop = int(begin, 16), int(end, 16)
            try:
                file.seek(start)
                found = file.read(min(stop - start, 64 << 20)).find(key)
            except OSError:
                continue
            if found >= 0:
                return "the key is in the memory of another process"
    return None


def arguments(pid, key):
    for name in ("environ", "cmdline"):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            if key in file.read():
                return f"the key is in the {name} of another process"
    return None


def mapped(pid):
    """Whether it has memory yet; one that is dead and not waited for has none."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii") as file:
            return bool(file.read())
    except OSError:
        return False


def core(pid, key):
    """Make it crash, and read what the kernel writes."""
    folder = os.readlink(f"/proc/{pid}/cwd")
    os.kill(pid, signal.SIGABRT)
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up and mapped(pid):
        time.sleep(0.02)
    for name in os.listdir(folder):
        if name.startswith("core"):
            with open(f"{folder}/{name}", "rb") as file:
                if key in file.read():
                    return "the key is in a core dump"
    return None


def run(inputs, outputs):
    key = str(inputs.arguments["reversed"])[::-1].encode()
    details = []
    for pid in str(inputs.arguments["pids"]).split():
        try:
            said = {"memory": memory, "arguments": arguments, "core": core}[inputs.arguments["what"]](
                int(pid), key
            )
        except OSError as error:
            details.append(word_for(error))
            continue
        if said:
            outputs.json("finding.json", {"worked": True, "detail": said})
            return
    if inputs.arguments["what"] == "core":
        try:
            os.kill(int(str(inputs.arguments["pids"]).split()[0]), signal.SIGABRT)
        except OSError as error:
            details.append(word_for(error))
    outputs.json("finding.json", {"worked": False, "detail": " ".join(sorted(set(details))) or "not found"})
