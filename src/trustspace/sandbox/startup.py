"""Starting the launcher: its process, and what it is told once."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trustspace.errors import CannotIsolate
from trustspace.sandbox import bubblewrap, cgroup, confined, doctor, gpu, pool, protocol, seccomp
from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.runtime import Runtime


def job_filter(config: SandboxConfig, facts: doctor.HostFacts, *, counted: bool) -> bytes:
    """The system calls that a job may make, for what is around it. Raises CannotIsolate without libseccomp."""
    if config.backend == "landlock":
        return seccomp.compile_confined(
            truncation_closed=facts.landlock_abi >= confined.TRUNCATION_CLOSED_FROM
        )
    return seccomp.compile_filter(memory_counted=counted)


def _gpus(config: SandboxConfig, *, counted: bool) -> dict[str, Any]:
    """What the launcher is told of GPUs, nothing where jobs have none. Raises CannotIsolate when one is missing."""
    if not config.gpus:
        return {}
    gpu.check(config.gpus)
    folders = gpu.driver_folders(gpu.library_listing(), bubblewrap.library_folders())
    program = base64.b64encode(seccomp.compile_filter(memory_counted=counted, gpu=True)).decode("ascii")
    return gpu.orders(config.gpus, folders, program)


def orders(
    config: SandboxConfig,
    made: bubblewrap.Plan,
    facts: doctor.HostFacts,
    base: cgroup.Base | None,
    *,
    landlock: bool,
) -> dict[str, Any]:
    """What the launcher is told once: everything about its sandboxes, nothing about data."""
    return {
        "plan": {
            "runtime": {**asdict(made.runtime), "path": str(made.runtime.path)},
            "app": str(made.app),
            "test_programs": str(made.test_programs) if made.test_programs else None,
            "tmp_bytes": made.tmp_bytes,
            "shm_bytes": made.shm_bytes,
            "threads": made.threads,
        },
        "backend": config.backend,
        "warm": {"wanted": config.warm, "preload": pool.PRELOAD, "ready_seconds": pool.READY_SECONDS},
        "concurrent": config.concurrent,
        "gpus": _gpus(config, counted=base is not None),
        "gvisor": asdict(facts.gvisor.tools) if facts.gvisor and facts.gvisor.tools else None,
        "bwrap": shutil.which("bwrap") or "",
        "landlock": landlock,
        "cgroup": base.to_message() if base else None,
    }


def spawn(runtime: Runtime, app: Path, drop: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the launcher's program with nothing of ours but one end of a socket."""
    ours, theirs = protocol.pair()
    code = (
        "import sys; sys.path.append(sys.argv[1]); "
        "from trustspace.sandbox.service import main; main(int(sys.argv[2]), int(sys.argv[3]))"
    )
    command = [
        str(runtime.python),
        "-I",
        "-S",
        "-B",
        "-c",
        code,
        str(app),
        str(theirs.fileno()),
        str(os.getpid()),
    ]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            env=runtime.environment(str(runtime.path)), close_fds=True, pass_fds=(theirs.fileno(),),
            start_new_session=True, umask=0o077, **drop,
        )  # fmt: skip
    except OSError as error:
        ours.close()
        raise CannotIsolate(
            "The sandbox launcher cannot be started: {reason}.",
            fix="Run `make sandbox` again; the runtime must be readable for the sandbox's user.",
            reason=error.strerror or "unknown",
        ) from None
    finally:
        theirs.close()
    return process, ours
