"""Where attacks take place: a real launcher, the same programs without one, and bait on the host."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from redteam.model import CannotShow
from trustspace.crypto.canonical import canonical_json
from trustspace.data.handin import to_memfd
from trustspace.errors import TrustspaceError
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact, unpack
from trustspace.jobs.parameters import Parameters
from trustspace.sandbox import memory
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import ensure_app, find_runtime

Code = str | Mapping[str, str]
Output = tuple[str, str, int]
FINDING: Output = ("finding.json", "application/json", 64 << 10)
# As a job file states them; what an attack needs more of, it says.
LIMITS = {"wall_seconds": 60, "memory_mib": 512, "output_mib": 4}
SECRET_NAME = "TRUSTSPACE_DATABASE_PASSWORD"
_MARK = "TRUSTSPACE_REDTEAM_RUN"
_BARE = """
import json, os, sys
paths, inputs = sys.argv[1:3], json.loads(sys.argv[3])
sys.path += paths
from trustspace.jobs.container import RawArtifact, pack
from trustspace.jobs.programs import PROGRAMS
artifacts = []
emit = lambda name, kind, data: artifacts.append(RawArtifact(name, kind, bytes(data)))
read = lambda number: memoryview(os.pread(number, os.fstat(number).st_size, 0))
given = {name: read(number) for name, number in inputs["in"].items()}
for number in inputs["in"].values():
    os.close(number)
PROGRAMS["compute"](given, emit)
os.pwrite(inputs["out"], pack(artifacts), 0)
sys.stdout.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, as the enclave sees it: ``status`` and ``reason`` of the task, what passed the checks.

    A job whose output the checks refuse has the status "refused". ``raw`` is the container that the worker
    wrote, unchecked. ``survivors`` counts processes of the job that were alive after its end.
    """

    status: str
    reason: str
    artifacts: dict[str, RawArtifact] = field(default_factory=dict)
    log: str = ""
    raw: bytes = b""
    survivors: int = 0
    peak_bytes: int = 0
    wall_ms: int = 0

    @property
    def finding(self) -> dict[str, Any] | None:
        """What finding.json says, None where the job handed out none."""
        found = self.artifacts.get(FINDING[0])
        value = json.loads(found.data) if found is not None else None
        return value if isinstance(value, dict) else None


def patients() -> pa.Table:
    """Eight patients who do not exist."""
    return pa.table(
        {
            "name": [f"patient-{number}" for number in range(8)],
            "age": [31, 44, 52, 58, 63, 67, 71, 80],
            "size": [0.5, 1.25, 1.5, 2.0, 2.25, 3.0, 3.5, 4.75],
            "outcome": ["B", "B", "M", "B", "M", "M", "B", "M"],
        }
    )


class Arena:
    """One real launcher, started as an enclave starts it, and the means of every attack's control.

    ``secret`` is what attackers look for: it is in the environment of the launcher's owner and of every bait.
    ``notes`` is where an attack's preparation leaves what its judgement needs.
    """

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """Start the launcher. Raises CannotIsolate on a host that has no tier of isolation."""
        self.config = config or SandboxConfig()
        self.secret = f"canary-{secrets.token_hex(12)}"
        self.identity = sandbox_identity(self.config.user)
        self.runtime = find_runtime(self.config.runtime)
        self.app = ensure_app(self.runtime, self.config.app_directory)
        self._stack = contextlib.ExitStack()
        self._bait: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self.folder = Path(tempfile.mkdtemp(prefix="trustspace-redteam-"))
            self.folder.chmod(0o755)
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            os.environ[SECRET_NAME] = self.secret
            self._stack.callback(os.environ.pop, SECRET_NAME, None)
            # An enclave that forgets to close a descriptor on exec: opened before the launcher starts.
            forgotten = self.folder / "forgotten"
            forgotten.write_text(self.secret, encoding="ascii")
            forgotten.chmod(0o600)
            self.forgotten = os.open(forgotten, os.O_RDONLY)
            self._stack.callback(os.close, self.forgotten)
            os.set_inheritable(self.forgotten, True)
            # Tests and this tool hold no keys, and have started threads.
            self.launcher = self._stack.enter_context(Launcher.start(self.config, allow_threads=True))
            undo.pop_all()

    def close(self) -> None:
        """End the launcher and take away all bait. Calling it again does nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bait(self, kind: str, plant: Callable[[contextlib.ExitStack], Any]) -> Any:
        """What ``plant`` put on the host, planted once; it leaves its own removal on the stack."""
        if kind not in self._bait:
            self._bait[kind] = plant(self._stack)
        return self._bait[kind]

    # -- the two ways to run a job

    def inside(
        self,
        code: Code,
        *,
        arguments: Mapping[str, Any] | None = None,
        rows: pa.Table | None = None,
        limits: Mapping[str, int] | None = None,
        outputs: Sequence[Output] = (FINDING,),
        launcher: Launcher | None = None,
    ) -> JobEnd:
        """Run the job in a sandbox as the enclave does, up to and with the check of its artifacts.

        ``limits`` are those of a job file, in part. ``launcher`` takes the place of the arena's own.
        """
        parameters, given = self._submitted(code, arguments, rows, limits, outputs)
        allowed = task_limits(parameters)
        with given as descriptors:
            started = launcher or self.launcher
            result = started.run(Task("compute", descriptors, allowed))
            survivors = len(_descendants(started.pid))
        with result:
            log = result.log.decode(errors="replace")
            ended = {"survivors": survivors, "peak_bytes": result.peak_bytes, "wall_ms": result.wall_ms}
            if result.status != "finished":
                return JobEnd(result.status, result.reason, log=log, **ended)
            raw = result.read_output(allowed.output_bytes)
        try:
            artifacts = unpack(raw, max_bytes=allowed.output_bytes)
            check_artifacts(artifacts, parameters)
        except TrustspaceError as error:
            return JobEnd("refused", error.public_message, log=log, raw=raw, **ended)
        return JobEnd("finished", "", {one.name: one for one in artifacts}, log, raw, **ended)

    def bare(
        self,
        code: Code,
        *,
        arguments: Mapping[str, Any] | None = None,
        rows: pa.Table | None = None,
        limits: Mapping[str, int] | None = None,
        outputs: Sequence[Output] = (FINDING,),
        inherit: Sequence[int] = (),
        root: bool = False,
    ) -> JobEnd:
        """Run the same job with the same program as the same user, in an ordinary process: the control.

        Nothing is checked of what it hands out, and nothing limits it but ``wall_seconds``, after which it
        is killed. ``inherit`` are descriptors that the caller "forgot" to close. ``root`` runs the job as root,
        as platforms do that rely on containers alone; raises CannotShow where the suite is not run by root.
        """
        if root and os.geteuid() != 0:
            raise CannotShow("only root can run a job as root", "只有 root 才能以 root 运行任务")
        parameters, given = self._submitted(code, arguments, rows, limits, outputs)
        allowed = task_limits(parameters)
        with contextlib.ExitStack() as stack:
            descriptors = stack.enter_context(given)
            output, log = (stack.enter_context(_memory(name)) for name in ("output", "log"))
            mark = secrets.token_hex(12)
            stack.callback(_end_marked, mark)
            started = time.monotonic()
            process = subprocess.Popen(
                [self.runtime.python, "-S", "-s", "-P", "-B", "-c", _BARE, self.app,
                 self.runtime.path / "site-packages", json.dumps({"in": dict(descriptors), "out": output})],
                env=self.environment(**{_MARK: mark}), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(*descriptors.values(), output, *inherit), start_new_session=True,
                **({} if root else self.identity.drop()),
            )  # fmt: skip
            try:
                code_of_exit = process.wait(allowed.wall_seconds)
            except subprocess.TimeoutExpired:
                code_of_exit = None
                process.kill()
            finally:
                process.wait()
            wall_ms = round((time.monotonic() - started) * 1000)
            survivors = len(_marked(mark))
            raw = memory.read(output, 1 << 30)
            said = memory.read(log, 1 << 20).decode(errors="replace")
        ended = {"log": said, "raw": raw, "survivors": survivors, "wall_ms": wall_ms}
        if code_of_exit is None:
            return JobEnd("timed_out", "wall-clock", **ended)
        if code_of_exit < 0:
            return JobEnd("killed", signal.Signals(-code_of_exit).name, **ended)
        if code_of_exit > 0:
            return JobEnd("failed", "exit-status", **ended)
        artifacts = unpack(raw, max_bytes=1 << 30) if raw else ()
        return JobEnd("finished", "", {one.name: one for one in artifacts}, **ended)

    def environment(self, **more: str) -> dict[str, str]:
        """What an ordinary service of this host has around it: a secret among other things."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            SECRET_NAME: self.secret,
            **self.runtime.environment(str(self.runtime.path)),
            **more,
        }

    def python(self, source: str, *arguments: str) -> list[str | Path]:
        """The command line of a small program that the sandbox's user can run too."""
        return [self.runtime.python, "-S", "-s", "-P", "-B", "-c", source, *arguments]

    @staticmethod
    def _submitted(
        code: Code,
        arguments: Mapping[str, Any] | None,
        rows: pa.Table | None,
        limits: Mapping[str, int] | None,
        outputs: Sequence[Output],
    ) -> tuple[Parameters, contextlib.AbstractContextManager[dict[str, int]]]:
        """The parameters as a developer signs them, and the inputs that an enclave makes of all this."""
        table = patients() if rows is None else rows
        declared = [{"name": name, "media_type": kind, "max_bytes": size} for name, kind, size in outputs]
        parameters = Parameters.model_validate(
            {
                "kind": "compute",
                "datasets": [{"id": "ward-a", "version": 1, "columns": table.column_names}],
                "compute": {"outputs": declared, "arguments": dict(arguments or {})},
                "terms": {"withheld_percent": 0},
                "limits": {**LIMITS, **(limits or {})},
            }
        )
        bundle = make_bundle({"main.py": code} if isinstance(code, str) else dict(code))

        @contextlib.contextmanager
        def inputs() -> Iterator[dict[str, int]]:
            with contextlib.ExitStack() as stack:
                made = {}
                for name, make in (
                    ("parameters", lambda: memory.sealed("parameters", canonical_json(parameters.to_json()))),
                    ("data", lambda: to_memfd(table, "data")),
                    ("code", lambda: memory.sealed("code", bundle)),
                ):
                    made[name] = make()
                    stack.callback(os.close, made[name])
                yield made

        return parameters, inputs()


def task_limits(parameters: Parameters) -> Limits:
    """What the enclave lets a task of this job use (trustspace.enclave.run)."""
    limits = parameters.limits
    return Limits(
        wall_seconds=limits.wall_seconds,
        cpu_seconds=limits.wall_seconds * limits.threads,
        memory_bytes=limits.memory_mib * MIB,
        output_bytes=limits.output_mib * MIB,
    )


@contextlib.contextmanager
def _memory(name: str) -> Iterator[int]:
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _marked(mark: str) -> list[int]:
    """Processes of one bare run: whatever they call themselves, they were started with its mark."""
    word, found = f"{_MARK}={mark}".encode(), []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def _end_marked(mark: str) -> None:
    """Kill all of them, until none is left: one may have been starting another."""
    while found := _marked(mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _descendants(pid: int) -> list[int]:
    """Processes below ``pid``, zombies left out."""
    parents: dict[int, list[int]] = {}
    for child in _processes():
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(child)
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found
