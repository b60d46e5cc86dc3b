"""The worker: the first code of ours inside a sandbox, and the last before a job's.

It shuts the last doors (``walls``), imports what it is told to, and waits for its orders and descriptors on one
packet socket. Then it sets the task's limits, maps the inputs, says "started", closes the socket and runs the
program. What the program emits
goes, packed, into the output memory, which can only get smaller. From the first line of a job's code on,
nothing this process says is believed: the launcher goes by how it ended, the enclave by what the bytes are.

A session has a second socket besides, which stays: it leads to the enclave alone, and carries JSON.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from trustspace.sandbox import layout, limits, protocol, walls

EXIT_FAILED = 1
EXIT_OUTPUT_TOO_LARGE = 97
SELF_CHECK = "self-check"
# Overwrites a GPU's memory between two jobs.
CLEARING = "clear-gpu"

Emit = Callable[[str, str, bytes], None]


class _OutputTooLarge(Exception):
    pass


class Talk:
    """A session's side of its conversation (jobs.programs.Talk): messages by socket, bulk by memory."""

    def __init__(self, sock: socket.socket, down: memoryview, up: memoryview) -> None:
        self._sock = sock
        self.down = down
        self.up = up

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None when the enclave has nothing more to ask, or is gone."""
        try:
            return protocol.receive_plain(self._sock)
        except ConnectionError:
            return None

    def reply(self, message: dict[str, Any]) -> None:
        """Answer. Raises ValueError for a message that cannot be sent, OSError when the enclave is gone."""
        protocol.send_plain(self._sock, message)


def main(control_descriptor: int, ordered: str) -> None:
    """Run one task and end the process. Never returns.

    ``ordered`` is a JSON object: what ``walls.shut`` takes, and ``preload``, modules to import before there is
    a task.
    """
    try:
        code = _run(control_descriptor, json.loads(ordered))
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


def _run(control_descriptor: int, ordered: dict[str, Any]) -> int:
    walls.shut(ordered)
    if control_descriptor == 0:
        # Where nothing but standard input can be inherited. A job's own files do not become its standard input.
        control_descriptor = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    control = socket.socket(fileno=control_descriptor)
    if ordered["preload"]:
        for name in ordered["preload"]:
            importlib.import_module(name)
        protocol.send_plain(control, {"event": "warm"})
    received = protocol.receive(control)
    if received is None:
        return EXIT_FAILED
    orders, descriptors = received
    output, inputs, conversation = descriptors[0], descriptors[1:], []
    if orders["session"]:
        inputs, conversation = inputs[:-3], inputs[-3:]
    limits.apply_in_worker(orders["limits"], orders["cpu_seconds"])
    views = {name: _map(descriptor) for name, descriptor in zip(orders["inputs"], inputs, strict=True)}
    name = orders["program"]
    program = _resolve(name, session=orders["session"], test=orders["test_programs"])
    talk = _talk(*conversation) if conversation else None
    protocol.send_plain(control, {"event": "started"})
    control.close()

    artifacts: list[tuple[str, str, bytes]] = []

    def emit(name: str, media_type: str, data: bytes) -> None:
        artifacts.append((name, media_type, bytes(data)))

    if talk is None:
        program(views, emit)
    else:
        program(views, emit, talk)
    _write(output, _pack(artifacts), orders["output_bytes"])
    return 0


def _map(descriptor: int, *, writable: bool = False) -> memoryview:
    """An input's content: mapped, not copied."""
    if os.fstat(descriptor).st_size == 0:
        return memoryview(b"")
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    view = memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection))
    os.close(descriptor)
    return view


def _talk(sock: int, down: int, up: int) -> Talk:
    return Talk(socket.socket(fileno=sock), _map(down), _map(up, writable=True))


def _resolve(name: str, *, session: bool, test: bool) -> Callable[..., None]:
    """The program or session of that name; ``module:function`` only where the launcher was started for tests."""
    if name == SELF_CHECK:
        return _self_check
    if name == CLEARING:
        from trustspace.sandbox import clearing

        return clearing.run
    if test and ":" in name:
        module, function = name.split(":", 1)
        found: Callable[..., None] = getattr(importlib.import_module(module), function)
        return found
    from trustspace.jobs.programs import PROGRAMS, SESSIONS

    return SESSIONS[name] if session else PROGRAMS[name]


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


def _child() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _scratch(folder: str) -> None:
    path = f"{folder}/self-check-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)


def _observe() -> dict[str, Any]:
    import resource

    libc = ctypes.CDLL(None, use_errno=True)
    pr_get_dumpable, pr_get_seccomp, pr_get_no_new_privs, pr_capbset_read = 3, 21, 39, 23

    def refused(action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError:
            return True
        return False

    return {
        "uid": os.getuid(),
        "pid": os.getpid(),
        "dumpable": libc.prctl(pr_get_dumpable, 0, 0, 0, 0),
        "kernel": os.uname().release,
        "seccomp": libc.prctl(pr_get_seccomp, 0, 0, 0, 0),
        "no_new_privs": libc.prctl(pr_get_no_new_privs, 0, 0, 0, 0),
        "capabilities": sum(libc.prctl(pr_capbset_read, number, 0, 0, 0) == 1 for number in range(41)),
        "core_limit": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "no_network": refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        "root_read_only": refused(lambda: os.mkdir("/probe")),
        # Only Landlock closes this one: the mounts show an (almost empty) root.
        "root_closed": refused(lambda: os.listdir("/")),
        "no_process": refused(_child),
        "no_signal": refused(lambda: os.kill(os.getppid(), 0)),
        "no_scratch": all(refused(functools.partial(_scratch, folder)) for folder in layout.SCRATCH),
        "environment": sorted(os.environ),
    }
