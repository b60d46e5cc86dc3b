"""The worker: the first code of ours inside a sandbox, and the last before a job's.

It receives its orders and descriptors over one packet socket, shuts the last doors (Landlock, number of
processes), maps the inputs, says "started", closes the socket and runs the program. What the program emits
goes, packed, into the output memory, which can only get smaller. From the first line of a job's code on,
nothing this process says is believed: the launcher goes by how it ended, the enclave by what the bytes are.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from trustspace.sandbox import landlock, protocol
from trustspace.sandbox.layout import READABLE, SCRATCH, WRITABLE_FILES

EXIT_FAILED = 1
EXIT_OUTPUT_TOO_LARGE = 97
SELF_CHECK = "self-check"

Emit = Callable[[str, str, bytes], None]
Program = Callable[[Mapping[str, memoryview], Emit], None]


class _OutputTooLarge(Exception):
    pass


def main(control_descriptor: int) -> None:
    """Run one task and end the process. Never returns."""
    try:
        code = _run(control_descriptor)
    except _OutputTooLarge:
        code = EXIT_OUTPUT_TOO_LARGE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else EXIT_FAILED if end.code else 0
        if code == 0:
            # A job that leaves early has handed out nothing.
            code = EXIT_FAILED
    except BaseException:  # the job's own error: for the log, which belongs to the source unit
        sys.__excepthook__(*sys.exc_info())
        code = EXIT_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a job's threads and atexit functions have had their time.
    os._exit(code)


def _run(control_descriptor: int) -> int:
    control = socket.socket(fileno=control_descriptor)
    received = protocol.receive(control)
    if received is None:
        return EXIT_FAILED
    orders, descriptors = received
    output, inputs = descriptors[0], descriptors[1:]
    # Here and not before the sandbox: in its own user namespace only its own processes count.
    _, ceiling = resource.getrlimit(resource.RLIMIT_NPROC)
    processes = (
        orders["processes"] if ceiling == resource.RLIM_INFINITY else min(orders["processes"], ceiling)
    )
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    version = landlock.restrict(READABLE, SCRATCH, WRITABLE_FILES) if orders["landlock"] else 0
    views = {name: _map(descriptor) for name, descriptor in zip(orders["inputs"], inputs, strict=True)}
    name = orders["program"]
    program = _self_check if name == SELF_CHECK else _resolve(name, test=orders["test_programs"])
    protocol.send_plain(control, {"event": "started", "landlock": version})
    control.close()

    artifacts: list[tuple[str, str, bytes]] = []
    program(views, lambda name, media_type, data: artifacts.append((name, media_type, bytes(data))))
    _write(output, _pack(artifacts), orders["output_bytes"])
    return 0


def _map(descriptor: int) -> memoryview:
    """An input's content: mapped, not copied."""
    if os.fstat(descriptor).st_size == 0:
        return memoryview(b"")
    view = memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ))
    os.close(descriptor)
    return view


def _resolve(name: str, *, test: bool) -> Program:
    """The program of that name; ``module:function`` only where the launcher was started for tests."""
    if test and ":" in name:
        module, function = name.split(":", 1)
        found: Program = getattr(importlib.import_module(module), function)
        return found
    from trustspace.jobs.programs import PROGRAMS

    return PROGRAMS[name]


def _pack(artifacts: list[tuple[str, str, bytes]]) -> bytes:
    from trustspace.jobs.container import RawArtifact, pack

    return pack([RawArtifact(name, media_type, data) for name, media_type, data in artifacts])


def _write(output: int, content: bytes, limit: int) -> None:
    if len(content) > limit:
        raise _OutputTooLarge
    view = memoryview(content)
    offset = 0
    while offset < len(view):
        offset += os.pwrite(output, view[offset : offset + (1 << 24)], offset)
    os.ftruncate(output, len(view))


def _self_check(inputs: Mapping[str, memoryview], emit: Emit) -> None:
    """Report what this sandbox is really like; the launcher compares it with what it asked for."""
    emit("self-check.json", "application/json", json.dumps(_observe(), sort_keys=True).encode())


def _observe() -> dict[str, Any]:
    libc = ctypes.CDLL(None, use_errno=True)
    pr_get_seccomp, pr_get_no_new_privs, pr_capbset_read = 21, 39, 23

    def refused(action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError:
            return True
        return False

    return {
        "uid": os.getuid(),
        "pid": os.getpid(),
        "seccomp": libc.prctl(pr_get_seccomp, 0, 0, 0, 0),
        "no_new_privs": libc.prctl(pr_get_no_new_privs, 0, 0, 0, 0),
        "capabilities": sum(libc.prctl(pr_capbset_read, number, 0, 0, 0) == 1 for number in range(41)),
        "core_limit": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "no_network": refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        "root_read_only": refused(lambda: os.mkdir("/probe")),
        # Only Landlock closes this one: the mounts show an (almost empty) root.
        "root_closed": refused(lambda: os.listdir("/")),
        "environment": sorted(os.environ),
    }
