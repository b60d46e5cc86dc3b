"""Programs in real sandboxes, and the same ones with nothing around them."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

from trustspace.jobs.container import unpack
from trustspace.sandbox import memory
from trustspace.sandbox.config import DEDICATED_USER, MIB, Limits, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import find_runtime

# The task's usual bounds here: small enough to meet, large enough for an interpreter.
SMALL = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=256 * MIB, output_bytes=1 * MIB, processes=32)


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
