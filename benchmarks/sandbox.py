"""What a sandbox costs, beside a bare process of the same user and interpreter: start, hand-in, a whole training.

    python -m benchmarks.sandbox [--json FILE] [--turns 5] [--mebibytes 1024] [--rows 20000] [--no-platform]

Every way of making sandboxes that this host can give is measured (``namespaces``, ``landlock``, ``gvisor``), new and
warm: a new one is started for the task, a warm one waited for it with torch imported.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import Ratio, Result, Row, arguments, finish, take_turns, timed, workspace
from benchmarks.job import Story, breast_cancer
from trustspace.crypto.canonical import canonical_json
from trustspace.crypto.seal import Opener, Sealer, iter_sealed, take_header
from trustspace.demo.processes import Processes
from trustspace.errors import CannotIsolate, TrustspaceError
from trustspace.jobs.container import unpack
from trustspace.jobs.spec import Parameters
from trustspace.sandbox import bubblewrap, layout, memory
from trustspace.sandbox.config import DEDICATED_USER, MIB, Limits, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import find_runtime

HERE = Path(__file__).parent
BACKENDS = ("namespaces", "landlock", "gvisor")
LIMITS = Limits(wall_seconds=600, cpu_seconds=600, memory_bytes=2048 * MIB, output_bytes=16 * MIB)
CHUNK = 1 << 20
NOTES = (
    (
        "Start-up is from the request to the result: for a sandbox it includes handing the task over, packing and "
        "sealing its output, and the death of its whole tree; for a bare process its exit."
    ),
    (
        "true is started by bubblewrap with the options of a real sandbox, filter included, and nothing of ours in it: "
        "what the walls themselves cost."
    ),
    (
        "Hand-in is from telling a process that is ready, or the launcher, until a byte of every page was read. Bare "
        "processes are started and waiting before they are told."
    ),
    (
        "A warm sandbox was started and has imported torch before the clock begins; where one was not ready, the "
        "turn was taken again."
    ),
    "Training is the platform's own program on the same rows; the bare process runs it without walls.",
    (
        "On the platform: the key's release as a source unit's client sees it in the ledger, and the row as the job's "
        "own code sees it, by one clock."
    ),
)


@dataclass(frozen=True)
class Ways:
    """The launchers: for each backend one without a pool and one with it."""

    new: dict[str, Launcher]
    warm: dict[str, Launcher]

    def settle(self) -> None:
        """Wait until those who are to wait have imported what they import."""
        _settle([each.pid for each in self.warm.values()])


@contextlib.contextmanager
def ways(programs: Path, wanted: Sequence[str], result: Result) -> Iterator[Ways]:
    """Every backend that this host gives; why others are missing becomes a fact."""
    with contextlib.ExitStack() as stack:
        found = Ways({}, {})
        for backend in wanted:
            try:
                for kept, warm in ((found.new, 0), (found.warm, 1)):
                    config = SandboxConfig(backend=backend, warm=warm, test_programs=programs)
                    launcher = Launcher.start(config, allow_threads=True)
                    kept[backend] = stack.enter_context(launcher)
            except (CannotIsolate, TrustspaceError) as error:
                found.new.pop(backend, None)
                result.facts[f"{backend}, not measured"] = error.public_message.split("\n")[0][:200]
            else:
                result.facts[f"{backend}, tier"] = found.new[backend].tier
        yield found


def _family(pid: int) -> dict[int, int]:
    """Every process below one, with the processor time that it has used, in ticks."""
    used: dict[int, tuple[int, int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rsplit(")", 1)[1].split()
            used[int(status.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    found: dict[int, int] = {}
    layer = {pid}
    while layer:
        layer = {child for child, (parent, _) in used.items() if parent in layer} - set(found)
        found |= {child: used[child][1] for child in layer}
    return found


def _settle(above: list[int], seconds: float = 60.0) -> None:
    """Wait until nothing below those processes computes any more."""
    give_up = time.monotonic() + seconds
    quiet, before = 0, -1
    while quiet < 2 and time.monotonic() < give_up:
        time.sleep(0.2)
        now = sum(sum(_family(pid).values()) for pid in above)
        quiet = quiet + 1 if 0 <= now - before <= 1 else 0
        before = now


@dataclass(frozen=True)
class Bare:
    """Processes as the sandbox's user, with its interpreter and packages and without walls."""

    probe: Path
    app: Path

    def command(self, *what: object) -> list[str]:
        """The probe, told what to do."""
        runtime = find_runtime()
        return [str(runtime.python), "-S", "-s", "-P", "-B", str(self.probe), *map(str, what)]

    def options(self) -> dict[str, Any]:
        """For subprocess: the user, and an environment like a worker's."""
        runtime = find_runtime()
        environment = runtime.environment(str(runtime.path)) | {
            "PYTHONPATH": f"{runtime.path / 'site-packages'}:{self.app}", "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2", "PYTHONHASHSEED": "0",
        }  # fmt: skip
        # A session of its own, as sandboxes have: Linux shares a busy processor out among sessions (sched(7)).
        return {"env": environment, "cwd": "/", "start_new_session": True, **_drop()}

    def run(self, *what: object, descriptors: tuple[int, ...] = ()) -> float:
        """Seconds from start to end; the process inherits the descriptors."""
        return timed(
            lambda: subprocess.run(
                self.command(*what),
                stdout=subprocess.DEVNULL,
                check=True,
                pass_fds=descriptors,
                **self.options(),
            )
        )

    def touch(self, descriptor: int) -> float:
        """Seconds from telling a ready process to map what it inherited until it has read every page."""
        process = subprocess.Popen(
            self.command("touch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=(descriptor,), **self.options(),
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        started = time.time_ns()
        said, _ = process.communicate(f"{_inherited(descriptor)}\n")
        return (int(json.loads(said)["last"]) - started) / 1e9


def _inherited(descriptor: int) -> str:
    """Where a process finds a descriptor of its own, whatever folders lie above the file."""
    return f"/proc/self/fd/{descriptor}"


def _drop() -> dict[str, Any]:
    return sandbox_identity(DEDICATED_USER).drop()


def _run(
    launcher: Launcher, program: str, inputs: dict[str, int], *, warm: bool
) -> tuple[float, dict[str, Any]]:
    """Seconds from the request to the result, and the moments that the program noted."""
    for _ in range(8):
        started = time.time_ns()
        with launcher.run(Task(program, inputs, LIMITS)) as ended:
            seconds = (time.time_ns() - started) / 1e9
            if ended.status != "finished":
                raise RuntimeError(f"{program}: {ended.reason}: {ended.log.decode(errors='replace')[-400:]}")
            if ended.warm != warm:
                _settle([launcher.pid])
                continue
            found = {one.name: one.data for one in unpack(ended.read_output(16 * MIB), max_bytes=16 * MIB)}
            moments: dict[str, Any] = json.loads(found.get("moments.json", b"{}"))
            return seconds, {
                name: (value - started) / 1e9 for name, value in moments.items() if name != "sum"
            }
    raise RuntimeError("no sandbox got warm")


def note(
    result: Result, measured: dict[str, list[float]], unit: str, over: str, *, factor: float = 1.0
) -> None:
    """Rows of what was measured, and every other row's ratio to one of them."""
    result.rows += [
        Row.of(name, unit, [factor * value for value in values]) for name, values in measured.items()
    ]
    result.ratios += [Ratio.between(name, over, measured) for name in measured if name != over]


def start_up(found: Ways, bare: Bare, turns: int, result: Result) -> None:
    """Nothing, Python, and torch: a bare process, a new sandbox, a warm one."""
    true = shutil.which("true") or "/bin/true"
    options = {"env": {}, "cwd": "/", "start_new_session": True, **_drop()}
    cases: dict[str, Callable[[], float]] = {
        "true: bare process": lambda: timed(lambda: subprocess.run([true], check=True, **options))
    }
    if "namespaces" in found.new:
        cases["true: bubblewrap with a sandbox's options"] = lambda: _bubblewrapped(true, options)
    note(result, take_turns(cases, 4 * turns), "ms", "true: bare process", factor=1000)

    # Once for nothing: files come into memory.
    bare.run("torch")
    for what, program in (("Python", "nothing"), ("torch", "torch")):
        cases = {f"{what}: bare process": lambda program=program: bare.run(program)}  # type: ignore[misc]
        for kind, launchers in (("new", found.new), ("warm", found.warm)):
            for backend, launcher in launchers.items():
                cases[f"{what}: {backend}, {kind}"] = (
                    lambda launcher=launcher, program=program, kind=kind:  # type: ignore[misc]
                    _run(launcher, f"probe:{program}", {}, warm=kind == "warm")[0]
                )  # fmt: skip
        measured = take_turns(cases, turns, between=found.settle)
        note(result, measured, "ms", f"{what}: bare process", factor=1000)


def _bubblewrapped(true: str, options: dict[str, Any]) -> float:
    """bubblewrap with everything a sandbox has, around the smallest program there is."""
    runtime = find_runtime()
    made = bubblewrap.plan(SandboxConfig(), runtime, next((runtime.path / "app").iterdir()))
    from trustspace.sandbox.seccomp import compile_filter

    with contextlib.ExitStack() as stack:

        def kept(name: str, content: bytes) -> int:
            descriptor = memory.sealed(name, content)
            stack.callback(os.close, descriptor)
            return descriptor

        program = kept("filter", compile_filter(memory_counted=True))
        copies = {path: kept("copy", Path(path).read_bytes()) for path in layout.COPIED}
        status = os.open("/dev/null", os.O_WRONLY)
        stack.callback(os.close, status)
        inside = f"{layout.SCRATCH[0]}/true"
        ordered = [
            *bubblewrap.options(made, seccomp=program, status=status, copies=copies), "--ro-bind", true, inside,
        ]  # fmt: skip
        given = kept("arguments", "\0".join(ordered).encode() + b"\0")
        bwrap = shutil.which("bwrap") or "bwrap"
        return timed(
            lambda: subprocess.run(
                [bwrap, "--args", str(given), "--", inside], check=True,
                pass_fds=(given, program, status, *copies.values()), **options,
            )
        )  # fmt: skip


def hand_in(found: Ways, bare: Bare, work: Path, mebibytes: int, turns: int, result: Result) -> None:
    """The same bytes: a file in the page cache, a memory file, and sealed memory in a sandbox."""
    size = mebibytes * MIB
    path = work / "plain"
    block = os.urandom(CHUNK)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)
    path.chmod(0o644)
    path.read_bytes()
    with contextlib.ExitStack() as stack:
        cached = stack.enter_context(path.open("rb")).fileno()
        whole = memory.create("data", size)
        stack.callback(os.close, whole)
        with mmap.mmap(whole, size) as view:
            for offset in range(0, size, CHUNK):
                view[offset : offset + CHUNK] = block
        memory.seal(whole)
        key, context = os.urandom(32), {"use": "benchmark"}
        sealed = work / "sealed"
        with path.open("rb") as plain, sealed.open("wb") as out:
            for piece in iter_sealed(Sealer(key, context), plain.read):
                out.write(piece)
        sealed.read_bytes()

        def opened() -> int:
            """The sealed file, opened straight into new memory, and sealed."""
            descriptor = memory.create("data", size)
            with sealed.open("rb") as file, mmap.mmap(descriptor, size) as target, memoryview(target) as view:
                opener, offset = Opener(key, take_header(file.read), context), 0
                while offset < size:
                    piece = file.read(CHUNK + 16)
                    last = offset + CHUNK >= size
                    offset += opener.open_into(piece, view[offset:], last=last)
                opener.finish()
            memory.seal(descriptor)
            return descriptor

        def through(launcher: Launcher, *, warm: bool, decrypt: bool = False) -> float:
            if not decrypt:
                return float(_run(launcher, "probe:touch", {"data": whole}, warm=warm)[1]["last"])
            begun = time.perf_counter()
            descriptor = opened()
            before = time.perf_counter() - begun
            try:
                return before + float(
                    _run(launcher, "probe:touch", {"data": descriptor}, warm=warm)[1]["last"]
                )
            finally:
                os.close(descriptor)

        def opened_alone() -> float:
            descriptor = -1

            def action() -> None:
                nonlocal descriptor
                descriptor = opened()

            seconds = timed(action)
            os.close(descriptor)
            return seconds

        limit = "hand-in: file in the page cache, mapped by a bare process"
        cases: dict[str, Callable[[], float]] = {
            limit: lambda: bare.touch(cached),
            "hand-in: sealed memory, mapped by a bare process": lambda: bare.touch(whole),
            "hand-in: decrypting into sealed memory, alone": opened_alone,
        }
        for backend in found.new:
            new, warm = found.new[backend], found.warm[backend]
            cases[f"hand-in: sealed memory into {backend}, new"] = lambda new=new: through(new, warm=False)  # type: ignore[misc]
            cases[f"hand-in: sealed memory into {backend}, warm"] = lambda warm=warm: through(warm, warm=True)  # type: ignore[misc]
        first = next(iter(found.warm.values()))
        cases["hand-in: decrypted, and into a warm sandbox"] = lambda: through(first, warm=True, decrypt=True)
        note(result, take_turns(cases, turns, between=found.settle), "ms", limit, factor=1000)


def training(found: Ways, bare: Bare, rows: int, epochs: int, turns: int, result: Result) -> None:
    """The platform's training of one table, from the request to its result."""
    draw = np.random.default_rng(1)
    values = draw.normal(size=(rows, 30))
    finding = values @ draw.normal(size=30) + draw.normal(size=rows) > 0
    columns = {f"x{i:02d}": values[:, i] for i in range(30)}
    table = pa.table({**columns, "outcome": np.where(finding, "M", "B")})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    asked = Parameters.model_validate(
        {
            "kind": "train", "datasets": [{"id": "ward", "version": 1, "columns": list(columns)}], "limits": {},
            "train": {"model": "mlp", "hidden": [16], "target": "outcome", "positive": "M", "epochs": epochs,
                      "batch_size": 256},
        }
    )  # fmt: skip
    parameters = canonical_json(asked.to_json())
    with contextlib.ExitStack() as stack:
        given = {"parameters": memory.sealed("parameters", parameters), "data": memory.sealed("data", data)}
        for descriptor in given.values():
            stack.callback(os.close, descriptor)
        files = (given["parameters"], given["data"])
        limit = "training: bare process"
        cases: dict[str, Callable[[], float]] = {
            limit: lambda: bare.run("train", *map(_inherited, files), descriptors=files)
        }
        for kind, launchers in (("new", found.new), ("warm", found.warm)):
            for backend, launcher in launchers.items():
                cases[f"training: {backend}, {kind}"] = (
                    lambda launcher=launcher, kind=kind:  # type: ignore[misc]
                    _run(launcher, "train", given, warm=kind == "warm")[0]
                )  # fmt: skip
        note(result, take_turns(cases, turns, between=found.settle), "s", limit)


def waiting(found: Ways, result: Result) -> None:
    """The memory of a sandbox that waits, where we may look: what it would give back if it ended."""
    for backend, launcher in found.warm.items():
        _settle([launcher.pid])
        private = shared = 0
        try:
            for pid in _family(launcher.pid):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name.startswith("Private"):
                        private += int(value.split()[0])
                    elif name == "Rss":
                        shared += int(value.split()[0])
        except OSError:
            continue
        result.rows.append(Row.of(f"waiting: {backend}, memory of its own", "MiB", [private / 1024]))
        result.rows.append(Row.of(f"waiting: {backend}, mapped, files included", "MiB", [shared / 1024]))


def platform(work: Path, epochs: int, turns: int, result: Result) -> None:
    """Real processes: from the release of the key to the first row, with and without a sandbox that waits."""
    task = breast_cancer(epochs)
    with contextlib.ExitStack() as stack:
        stories = {}
        for kind, count in (("new", 0), ("warm", 2)):
            (work / kind).mkdir()
            processes = stack.enter_context(Processes(work / kind / "logs", "en"))
            stories[kind] = Story(work / kind, processes, settings=f"warm = {count}\n")
            stories[kind].describe(task)
            stories[kind].run(task)
        measured: dict[str, list[float]] = {}

        def run(kind: str) -> float:
            seen = stories[kind].run(task)
            for name, value in {
                "key released to first row": seen["granted to first row"] - seen["granted to key released"],
                "granted to first row": seen["granted to first row"],
                "granted to sealed output": seen["job: granted to sealed output"],
            }.items():
                measured.setdefault(f"platform: {name}, {kind}", []).append(value)
            return 0.0

        cases = {kind: (lambda kind=kind: run(kind)) for kind in stories}  # type: ignore[misc]
        take_turns(cases, turns, between=lambda: _settle([os.getpid()], 10.0))
        result.rows += [Row.of(name, "s", values) for name, values in measured.items()]
        for name in ("key released to first row", "granted to first row", "granted to sealed output"):
            result.ratios.append(Ratio.between(f"platform: {name}, warm", f"platform: {name}, new", measured))


def main() -> None:
    """Run the benchmark."""
    parser = arguments("What a sandbox costs beside a bare process.", turns=5)
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of what is handed in (1024)")
    parser.add_argument("--rows", type=int, default=20_000, help="rows that are trained on (20000)")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of every training (30)")
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=BACKENDS,
        default=BACKENDS,
        help="what is measured, where the host gives it",
    )
    parser.add_argument("--no-platform", action="store_true", help="leave out the jobs of the whole platform")
    given = parser.parse_args()
    with workspace(given.work) as work:
        settings = {"turns": given.turns, "mebibytes": given.mebibytes, "rows": given.rows, "epochs": given.epochs,
                    "threads": 1}  # fmt: skip
        result = Result("sandbox", settings)
        with tempfile.TemporaryDirectory(prefix="trustspace-bench-") as folder:
            programs = Path(folder)
            programs.chmod(0o755)
            shutil.copyfile(HERE / "sandboxed" / "probe.py", programs / "probe.py")
            with ways(programs, given.backends, result) as found:
                if not found.new:
                    print("sandbox: not measured: this host gives no sandbox", file=sys.stderr)
                    sys.exit(CannotIsolate.exit_code)
                bare = Bare(programs / "probe.py", _app(found))
                start_up(found, bare, given.turns, result)
                hand_in(found, bare, work, given.mebibytes, given.turns, result)
                training(found, bare, given.rows, given.epochs, given.turns, result)
                waiting(found, result)
        if not given.no_platform:
            platform(work, given.epochs, given.turns, result)
        result.notes += NOTES
        finish(result, work, given.json)


def _app(found: Ways) -> Path:
    """The copy of the package that sandboxes import, which their user can read."""
    measurement = next(iter(found.new.values())).measurement
    return find_runtime().path / "app" / measurement


if __name__ == "__main__":
    main()
