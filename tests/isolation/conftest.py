"""Real sandboxes: skipped, visibly and with the reason, on a host that cannot isolate."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from trustspace.jobs.container import unpack
from trustspace.sandbox import memory
from trustspace.sandbox.config import DEDICATED_USER, MIB, Limits, SandboxConfig
from trustspace.sandbox.doctor import probe
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import find_runtime

# The task's usual bounds here: small enough to meet, large enough for an interpreter.
SMALL = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=256 * MIB, output_bytes=1 * MIB, processes=32)


@pytest.fixture(scope="session")
def report():
    found = probe()
    if found.tier is None:
        pytest.skip(f"this host cannot isolate: {found.reasons('en')}")
    return found


@pytest.fixture(scope="session")
def programs():
    """The attack programs, where the sandbox's user can read them (the repository may be in a home)."""
    folder = Path(tempfile.mkdtemp(prefix="trustspace-programs-"))
    folder.chmod(0o755)
    for path in (Path(__file__).parent / "programs").glob("*.py"):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)
    yield folder
    shutil.rmtree(folder)


class Bench:
    """Runs a program of one module in a sandbox, and the same program without one."""

    def __init__(self, launcher: Launcher, programs: Path, module: str = "attacks"):
        self.launcher = launcher
        self.programs = programs
        self.module = module

    def of(self, module):
        """The same sandbox for the programs of another module."""
        return Bench(self.launcher, self.programs, module)

    def run(self, name, limits=SMALL, /, *, data=None, **parameters):
        with contextlib.ExitStack() as stack:
            inputs = {"parameters": memory.sealed("parameters", json.dumps(parameters).encode())}
            if data is not None:
                inputs["data"] = memory.sealed("data", data)
            for descriptor in inputs.values():
                stack.callback(os.close, descriptor)
            return self.launcher.run(Task(f"{self.module}:{name}", inputs, limits))

    def finding(self, name, limits=SMALL, /, *, data=None, **parameters):
        """What the program found out, from inside a sandbox."""
        with self.run(name, limits, data=data, **parameters) as result:
            assert result.status == "finished", (result, result.log.decode())
            (artifact,) = unpack(result.read_output(limits.output_bytes), max_bytes=limits.output_bytes)
            return json.loads(artifact.data)

    def bare_process(self, name, /, *, data=None, environment=None, **parameters):
        """The same program as the same user, with nothing around it."""
        runtime = find_runtime()
        identity = sandbox_identity(DEDICATED_USER)
        code = (
            "import sys, json, os, importlib; sys.path += sys.argv[1:3]\n"
            "inputs = {'parameters': sys.argv[4].encode(), 'data': bytearray(sys.argv[5].encode())}\n"
            "emit = lambda name, kind, data: os.write(1, data)\n"
            "getattr(importlib.import_module(sys.argv[6]), sys.argv[3])(inputs, emit)"
        )
        return subprocess.Popen(
            [runtime.python, "-S", "-s", "-P", "-B", "-c", code, runtime.path / "site-packages", self.programs, name,
             json.dumps(parameters), (data or b"").decode(), self.module],
            env=environment or {}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **identity.drop(),
        )  # fmt: skip

    def without(self, name, /, *, data=None, environment=None, **parameters):
        """The positive control's finding."""
        process = self.bare_process(name, data=data, environment=environment, **parameters)
        try:
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        return json.loads(said)


@contextlib.contextmanager
def bench(programs, **changes):
    config = SandboxConfig(test_programs=programs, **changes)
    # These tests hold no keys, and other tests in the process have started threads.
    with Launcher.start(config, allow_threads=True) as launcher:
        yield Bench(launcher, programs)


@pytest.fixture(scope="session")
def sandbox(report, programs):
    """One launcher for most tests; each run is a sandbox of its own."""
    with bench(programs) as one:
        yield one


@pytest.fixture
def own_sandbox(report, programs):
    """A launcher that the test may break; called with changes to the configuration."""
    with contextlib.ExitStack() as stack:
        yield lambda **changes: stack.enter_context(bench(programs, **changes))


@pytest.fixture(scope="session")
def confined(programs):
    """A launcher whose sandboxes have no namespaces."""
    found = probe(SandboxConfig(backend="landlock"))
    if found.tier is None:
        pytest.skip(f"this host has no Landlock: {found.reasons('en')}")
    with bench(programs, backend="landlock") as one:
        yield one


@pytest.fixture
def canary_file():
    """A file that everyone on the host can read."""
    folder = Path(tempfile.mkdtemp(prefix="trustspace-canary-"))
    folder.chmod(0o755)
    path = folder / "canary.txt"
    path.write_text("a patient's name", encoding="utf-8")
    path.chmod(0o644)
    yield path
    shutil.rmtree(folder)
