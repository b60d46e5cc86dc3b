"""A launcher for tests that are not about isolation: programs and sessions run in this very process."""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any

from trustspace.data.handin import from_fd
from trustspace.jobs.container import RawArtifact, pack
from trustspace.jobs.programs import PROGRAMS, SESSIONS
from trustspace.sandbox import memory, protocol
from trustspace.sandbox.inside import Talk
from trustspace.sandbox.launcher import Channel, Conversation, Result, Running, Task
from trustspace.sandbox.runtime import measure_package
from trustspace.sandbox.task import check_channel

TIER = "namespaces+landlock+seccomp"
TABLES = ("data", "members", "canaries")


class _Said(io.TextIOBase):
    """What programs print, thread by thread: many run at a time here, and there is one ``sys.stdout``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners = 0
        self._elsewhere: Any = None
        self._own = threading.local()

    def write(self, text: str) -> int:
        target = getattr(self._own, "text", None) or self._elsewhere or sys.__stdout__
        return int(target.write(text))

    def flush(self) -> None:
        """Nothing waits here."""

    @contextlib.contextmanager
    def by_this_thread(self) -> Iterator[io.StringIO]:
        with self._lock:
            if self._listeners == 0:
                self._elsewhere, sys.stdout = sys.stdout, self
            self._listeners += 1
        self._own.text = io.StringIO()
        try:
            yield self._own.text
        finally:
            self._own.text = None
            with self._lock:
                self._listeners -= 1
                if self._listeners == 0:
                    sys.stdout, self._elsewhere = self._elsewhere, None


_SAID = _Said()


class _Chance:
    """Gives each program torch's random numbers for itself, as in a process of its own: one runs at a time."""

    def __init__(self) -> None:
        self._one = threading.Lock()

    @contextlib.contextmanager
    def turn(self, own: dict[str, Any]) -> Iterator[None]:
        with self._one:
            torch = sys.modules.get("torch")
            if torch is not None and "state" in own:
                torch.set_rng_state(own["state"])
            try:
                yield
            finally:
                torch = sys.modules.get("torch")
                if torch is not None:
                    own["state"] = torch.get_rng_state()


_CHANCE = _Chance()


class _Ended(BaseException):
    """The program's thread is to stop: in a sandbox it would be dead."""


class _SimulatedTalk(Talk):
    """The worker's own, in a thread: a program has its turn from a message to its next ``receive``."""

    def __init__(
        self, sock: socket.socket, down: memoryview, up: memoryview, heard: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(sock, down, up)
        self._heard = heard
        self._chance: dict[str, Any] = {}
        self.turns = contextlib.ExitStack()
        self.dead = threading.Event()

    def receive(self) -> dict[str, Any] | None:
        self.turns.close()
        message = super().receive()
        if message is not None and not self.dead.is_set():
            self._heard(message)
        if self.dead.is_set():
            raise _Ended
        self.turns.enter_context(_CHANCE.turn(self._chance))
        return message

    def reply(self, message: dict[str, Any]) -> None:
        if self.dead.is_set():
            raise _Ended
        super().reply(message)

    def begin(self) -> None:
        self.turns.enter_context(_CHANCE.turn(self._chance))


class SimulatedLauncher:
    """Runs the platform's programs in this process. It isolates nothing and says that it does: tests only.

    ``seen`` keeps what every task and session was handed; ``tamper`` may change what comes out. ``before`` is
    called with a program's name before it starts, ``heard`` with a session's program and each message that it
    receives, in the thread that then runs it: what is raised there is the session's error, and while it waits
    there, others run.
    """

    def __init__(self, tier: str = TIER) -> None:
        self.tier = tier
        self.details = {"user": "simulated"}
        self.measurement = measure_package()
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.tamper: Callable[[str, list[RawArtifact]], list[RawArtifact]] = lambda program, artifacts: (
            artifacts
        )
        self.before: Callable[[str], None] = lambda program: None
        self.heard: Callable[[str, dict[str, Any]], None] = lambda program, message: None
        self._numbers = itertools.count(1)
        self._ends: dict[int, Callable[[], None]] = {}
        self._threads: list[threading.Thread] = []

    def run(self, task: Task) -> Result:
        inputs = self._inputs(task)
        self.before(task.program)

        def program(emit: Any) -> None:
            with _CHANCE.turn({}):
                PROGRAMS[task.program](inputs, emit)

        return self._result(task.program, program)

    def submit(self, task: Task) -> Running:
        """``run`` in a thread of this process; cancelling it ends the wait for it."""
        future: Future[Result] = Future()
        number = next(self._numbers)

        def settle(result: Result) -> None:
            with contextlib.suppress(InvalidStateError):
                future.set_result(result)

        def work() -> None:
            try:
                settle(self.run(task))
            except BaseException as error:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error)
            finally:
                self._ends.pop(number, None)

        self._ends[number] = lambda: settle(Result("killed", "cancelled", None, b"", 0, 0, 1, 0))
        threading.Thread(target=work, name=f"task-{number}", daemon=True).start()
        return Running(number, future, self)  # type: ignore[arg-type]

    def open(self, task: Task, channel: Channel) -> Conversation:
        """The session in a thread of this process, on the real socket and memory; cancel stops it when it talks."""
        check_channel(channel)
        inputs = self._inputs(task)
        ours, theirs = protocol.pair()
        down, up = (
            mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection)
            for descriptor, protection in (
                (channel.down, mmap.PROT_READ),
                (channel.up, mmap.PROT_READ | mmap.PROT_WRITE),
            )
        )
        talk = _SimulatedTalk(
            theirs, memoryview(down), memoryview(up), lambda message: self.heard(task.program, message)
        )
        future: Future[Result] = Future()
        number = next(self._numbers)
        started = time.monotonic()

        def settle(result: Result) -> None:
            with contextlib.suppress(InvalidStateError):
                future.set_result(result)

        def end(status: Any, reason: str) -> None:
            talk.dead.set()
            passed = int((time.monotonic() - started) * 1000)
            settle(Result(status, reason, None, b"", 0, passed, 1, 0))
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)

        def program(emit: Any) -> None:
            with talk.turns:
                self.before(task.program)
                talk.begin()
                SESSIONS[task.program](inputs, emit, talk)

        def work() -> None:
            try:
                settle(self._result(task.program, program))
            except _Ended:
                pass
            finally:
                clock.cancel()
                del self._ends[number]
                theirs.close()

        clock = threading.Timer(task.limits.wall_seconds, end, ("timed_out", "wall-clock"))
        clock.daemon = True
        self._ends[number] = lambda: end("killed", "cancelled")
        clock.start()
        thread = threading.Thread(target=work, name=f"session-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return Conversation(Running(number, future, self), ours)  # type: ignore[arg-type]

    def _cancel(self, number: int) -> None:
        self._ends.get(number, lambda: None)()

    def _inputs(self, task: Task) -> dict[str, memoryview]:
        inputs, seen = {}, {}
        for name, descriptor in task.inputs.items():
            memory.check_sealed(descriptor, name)
            content = memory.read(descriptor, os.fstat(descriptor).st_size)
            inputs[name] = memoryview(content)
            seen[name] = from_fd(descriptor) if name in TABLES else content
        self.seen.append((task.program, seen))
        return inputs

    def _result(self, name: str, program: Callable[[Any], None]) -> Result:
        started = time.monotonic()
        artifacts: list[RawArtifact] = []
        status: Any = "finished"
        with _SAID.by_this_thread() as said:
            try:
                program(lambda n, m, data: artifacts.append(RawArtifact(n, m, bytes(data))))
            except Exception as error:
                said.write(f"{type(error).__name__}: {error}\n")
                status = "failed"
        output = None
        if status == "finished":
            output = memory.sealed("output", pack(self.tamper(name, artifacts)))
        log = said.getvalue().encode()
        passed = int((time.monotonic() - started) * 1000)
        return Result(
            status=status, reason="" if output else "exit-status", output=output, log=log, log_bytes=len(log),
            wall_ms=passed, first_row_ms=1, peak_bytes=0,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing runs outside this process; sessions end."""
        for end in list(self._ends.values()):
            end()
        for thread in self._threads:
            thread.join(5)
