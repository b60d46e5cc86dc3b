"""The enclave's handle on its launcher: give it tasks, get sealed memory back.

Start it first in the process, before any thread runs and any key is loaded. The launcher itself
(``service``) is a separate, unprivileged program; if it dies, every sandbox dies with it, and if we die,
it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import CannotIsolate, Unavailable
from trustspace.sandbox import bubblewrap, cgroup, doctor, gpu, memory, protocol, selfcheck, startup
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.conversation import Conversation, ConversationEnded
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.inside import SELF_CHECK
from trustspace.sandbox.remedies import finding
from trustspace.sandbox.runtime import ensure_app, find_runtime
from trustspace.sandbox.task import Channel, Result, Task, check_channel, check_task, read_result

__all__ = [
    "Channel", "Conversation", "ConversationEnded", "Launcher", "Limits", "Result", "Running", "SandboxConfig",
    "Task",
]  # fmt: skip

START_SECONDS = 30.0
SELF_CHECK_LIMITS = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=256 * MIB, output_bytes=64 << 10)
# What is imported counts.
WARM_SELF_CHECK_LIMITS = replace(SELF_CHECK_LIMITS, memory_bytes=2048 * MIB)


@dataclass(frozen=True)
class Running:
    """A task on its way: wait for its result, or end it."""

    number: int
    _future: Future[Result]
    _launcher: Launcher

    def result(self, timeout_seconds: float | None = None) -> Result:
        """Wait for the end. Raises Unavailable when the launcher is gone, TimeoutError when it takes longer."""
        try:
            return self._future.result(timeout_seconds)
        except CancelledError:
            raise Unavailable("The task was given up before it started.") from None

    def cancel(self) -> None:
        """End the task now; its result says "killed" with the reason "cancelled"."""
        self._launcher._cancel(self.number)


class Launcher:
    """Starts sandboxes; safe to use from any number of threads.

    ``tier``, ``details`` (strings for evidence and for people) and ``measurement`` say what it can be
    relied on for.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        concurrent: int,
        base: cgroup.Base | None,
        gpus: Sequence[int] = (),
    ) -> None:
        self._process = process
        self._control = control
        self._base = base
        self._slots = threading.BoundedSemaphore(concurrent)
        self._leases = gpu.Leases(gpus)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Result]] = {}
        self._next = 1
        self._reader: threading.Thread | None = None
        self._closed = False
        self.tier = ""
        self.details: dict[str, str] = {}
        self.measurement = ""

    @classmethod
    def start(cls, config: SandboxConfig | None = None, *, allow_threads: bool = False) -> Launcher:
        """Probe the host, start the launcher, and look at one sandbox from the inside.

        The check for threads is what keeps this the first act of a process: later, a copy of its memory,
        keys and all, would exist for the moment between fork and exec. ``allow_threads`` is for tests and
        tools that hold no keys.

        Raises CannotIsolate when the host does not give the tier demanded, when a sandbox turns out weaker
        than it should be, or when this process has threads already. There is no weaker mode to fall into.
        """
        config = config or SandboxConfig()
        if not allow_threads and len(os.listdir("/proc/self/task")) > 1:
            raise CannotIsolate(
                "The launcher must be started before any thread exists in the process.",
                fix="Start it first, before grpc and numerical libraries are imported.",
            )
        report = doctor.probe(config)
        if report.tier is None:
            raise CannotIsolate("This host cannot isolate: {reasons}", reasons=report.reasons("en"))
        identity = sandbox_identity(config.user)
        runtime = find_runtime(config.runtime)
        app = ensure_app(runtime, config.app_directory)
        # gVisor's kernel has none.
        landlock = config.landlock and report.facts.landlock_abi > 0 and config.backend != "gvisor"
        base = cgroup.prepare(identity.uid, identity.gid) if config.cgroups else None
        if base is None and config.backend == "gvisor":
            # The probe had one; nothing else counts its memory.
            raise CannotIsolate(
                "This host cannot isolate: {reasons}", reasons=finding("gvisor-uncounted").text["en"]
            )
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as done:
            if base is not None:
                undo.callback(cgroup.remove, base)
            program = memory.sealed(
                "filter", startup.job_filter(config, report.facts, counted=base is not None)
            )
            done.callback(os.close, program)
            process, control = startup.spawn(runtime, app, identity.drop())
            launcher = cls(process, control, config.concurrent, base, config.gpus)
            undo.callback(launcher.close)
            if base is not None:
                cgroup.enter_launcher(base, process.pid)
            made = bubblewrap.plan(config, runtime, app)
            launcher._introduce(startup.orders(config, made, report.facts, base, landlock=landlock), program)
            launcher.tier = report.tier
            launcher.measurement = app.name
            launcher.details = {
                "backend": config.backend,
                "user": "dedicated" if identity.dedicated else "same",
                "memory": f"cgroup v{base.version}" if base else "limits of each process",
                "processors": str(config.threads + 1) if base and base.cpu else "not limited",
                "landlock": str(report.facts.landlock_abi) if landlock else "none",
                "bubblewrap": report.facts.bwrap_version if config.backend == "namespaces" else "none",
                "gvisor": report.facts.gvisor.version if report.facts.gvisor is not None else "none",
                "kernel": report.facts.kernel,
                "python": runtime.python_version,
                "runtime_lock": runtime.lock_sha256,
                "swap": "on" if report.facts.swap else "off",
                "programs": "test" if config.test_programs else "platform",
                "warm": str(config.warm),
                "gpus": ",".join(map(str, config.gpus)) or "none",
            }
            launcher._self_check(config, user=identity.uid, landlock=landlock)
            if config.warm:
                launcher._self_check(config, user=identity.uid, landlock=landlock, warm=True)
            for number in config.gpus:
                launcher._clear_first(number)
            undo.pop_all()
        return launcher

    def _introduce(self, orders: dict[str, Any], program: int) -> None:
        self._control.settimeout(START_SECONDS)
        try:
            protocol.send(self._control, orders, [program])
            received = protocol.receive(self._control)
        except (OSError, ValueError):
            received = None
        finally:
            self._control.settimeout(None)
        said = received[0] if received else {}
        if said.get("event") != "ready":
            raise CannotIsolate(
                "The sandbox launcher did not start: {reason}.",
                reason=str(said.get("error", "it ended at once")),
            )

    def _self_check(self, config: SandboxConfig, *, user: int, landlock: bool, warm: bool = False) -> None:
        """Compare what one sandbox finds with what was ordered: a new one, or the first that is warm."""
        limits = WARM_SELF_CHECK_LIMITS if warm else SELF_CHECK_LIMITS
        with contextlib.closing(self._lone_result(Task(SELF_CHECK, {}, limits), warm=warm)) as result:
            if result.status != "finished":
                raise CannotIsolate(
                    "A first sandbox did not run ({reason}): {log}",
                    reason=result.reason,
                    log=result.log.decode(errors="replace").strip()[-400:],
                )
            seen = _self_check_report(result)
        wrong = selfcheck.weaknesses(seen, config.backend, user=user, landlock=landlock)
        if wrong:
            raise CannotIsolate("A first sandbox is weaker than ordered: {walls}.", walls=", ".join(wrong))
        if not tier_satisfies(self.tier, config.minimum_tier):
            raise CannotIsolate(
                "This host gives {tier}, and {demanded} is demanded.",
                tier=self.tier, demanded=config.minimum_tier,
            )  # fmt: skip

    def _clear_first(self, number: int) -> None:
        """Overwrite a GPU's memory: whatever was in it, the first job shall not find it."""
        with contextlib.closing(self._lone_result(gpu.CLEARING_TASK, gpu=number)) as result:
            if result.status != "finished":
                raise CannotIsolate(
                    "The memory of GPU {number} could not be overwritten ({reason}): {log}",
                    fix="See whether another program uses it, and whether the runtime's torch is built for it.",
                    number=number,
                    reason=result.reason,
                    log=result.log.decode(errors="replace").strip()[-400:],
                )
        self._leases.give_back(number)

    def _clear(self, number: int) -> None:
        """The same after a job, then let the next one have it; one that cannot be cleared, nobody gets again."""
        good = False
        with contextlib.suppress(Unavailable):
            running = self._begin(gpu.CLEARING_TASK, cleared=number)
            with contextlib.closing(running.result()) as result:
                good = result.status == "finished"
        (self._leases.give_back if good else self._leases.withdraw)(number)

    def _lone_result(self, task: Task, *, warm: bool = False, gpu: int | None = None) -> Result:
        """Run a task without starting the reader's thread: our owner may still want to be single-threaded."""
        with self._lock:
            number = self._next
            self._next += 1
            self._send_task(number, task, warm=warm, gpu=gpu)
            received = protocol.receive(self._control)
        if received is None:
            raise CannotIsolate("The sandbox launcher ended unexpectedly.")
        return read_result(*received)

    # -- tasks

    def run(self, task: Task) -> Result:
        """Run one task and wait for its end. Raises InvalidInput for a bad task, Unavailable without launcher."""
        return self.submit(task).result()

    def submit(self, task: Task) -> Running:
        """Start one task; waits while as many as configured are running."""
        check_task(task)
        return self._begin(task)

    def open(self, task: Task, channel: Channel) -> Conversation:
        """Start one session and return at once with our side of the conversation; close it when done.

        ``task.program`` names one of ``jobs.programs.SESSIONS``. All limits hold for the whole session, from
        here to its end: wall clock and processor time run while nothing is asked too. Memory counts as for a
        task, plus the size of ``channel.up``, which the worker fills and so is charged for. A session has one
        of the places for tasks until it ends. Raises as ``submit`` does, InvalidInput also for the channel.
        """
        check_task(task)
        check_channel(channel)
        ours, theirs = protocol.pair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            running = self._begin(task, [theirs.fileno(), channel.down, channel.up])
            undo.pop_all()
        return Conversation(running, ours)

    def _begin(self, task: Task, conversation: Sequence[int] = (), cleared: int | None = None) -> Running:
        """Send a task to the launcher, once there is a place; ``cleared`` is the GPU that it overwrites."""
        given = cleared
        if task.limits.gpu and cleared is None:
            # Before a place is taken: clearing needs one too.
            given = self._leases.take()
        future: Future[Result] = Future()
        self._slots.acquire()
        future.add_done_callback(lambda _: self._slots.release())
        if given is not None and cleared is None:
            clearing = threading.Thread(target=self._clear, args=(given,), name="gpu-clearing", daemon=True)
            future.add_done_callback(lambda _: clearing.start())
        with self._lock:
            number = self._next
            self._next += 1
            if self._closed:
                future.cancel()
                raise Unavailable("The sandbox launcher has been closed.")
            self._pending[number] = future
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="sandbox-results", daemon=True)
                self._reader.start()
            try:
                self._send_task(number, task, conversation, gpu=given)
            except BaseException as error:
                # Whatever it was, the place is free again.
                self._pending.pop(number, None)
                future.cancel()
                if not isinstance(error, OSError):
                    raise
                raise Unavailable("The sandbox launcher is gone.", fix="Restart the enclave.") from None
        return Running(number, future, self)

    def _send_task(
        self, number: int, task: Task, conversation: Sequence[int] = (), *, warm: bool = False,
        gpu: int | None = None,
    ) -> None:  # fmt: skip
        names = list(task.inputs)
        message = {
            "op": "run",
            "id": number,
            "program": task.program,
            "inputs": names,
            "session": bool(conversation),
            "warm": warm,
            "gpu": gpu,
            "limits": asdict(task.limits),
        }
        protocol.send(self._control, message, [*(task.inputs[name] for name in names), *conversation])

    def _cancel(self, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if number in self._pending:
                protocol.send(self._control, {"op": "cancel", "id": number})

    def _read(self) -> None:
        """The one thread that receives: hand each result to whoever waits for it."""
        while True:
            try:
                received = protocol.receive(self._control)
                if received is None:
                    break
                number, result = int(received[0]["id"]), read_result(*received)
            except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
                # One that says what is no result is no launcher any more: nobody waits for it.
                break
            with self._lock:
                future = self._pending.pop(number, None)
            if future is None or not future.set_running_or_notify_cancel():
                result.close()
            else:
                future.set_result(result)
        self._leases.close()
        with self._lock:
            self._closed = True
            left, self._pending = self._pending, {}
        for future in left.values():
            future.set_exception(Unavailable("The sandbox launcher is gone.", fix="Restart the enclave."))

    # -- life

    @property
    def pid(self) -> int:
        """The launcher's process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether tasks can be given to it."""
        return not self._closed and self._process.poll() is None

    def close(self) -> None:
        """End every sandbox and the launcher. Calling it again does nothing."""
        self._leases.close()
        with self._lock:
            self._closed = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        self._control.close()
        if self._base is not None:
            cgroup.remove(self._base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _self_check_report(result: Result) -> dict[str, Any]:
    from trustspace.jobs.container import unpack

    artifact = unpack(
        result.read_output(SELF_CHECK_LIMITS.output_bytes), max_bytes=SELF_CHECK_LIMITS.output_bytes
    )[0]
    report: dict[str, Any] = json.loads(artifact.data)
    return report
