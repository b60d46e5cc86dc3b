"""The command line that makes one sandbox (bwrap(1)); it travels through a descriptor, not in argv.

What is mounted is the runtime, the package's copy, the host's shared C libraries, three harmless devices
and two sized scratch directories, below a read-only root. There is no /proc: a job that cannot see
processes cannot read their environment. The CPU facts that libraries choose their code paths by are copies.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.layout import APP, DEVICES, RUNTIME, SANDBOX_ID, SCRATCH, TESTS
from trustspace.sandbox.runtime import Runtime

# --disable-userns and --size came with 0.8.
OLDEST_VERSION = (0, 8)


@dataclass(frozen=True)
class Plan:
    """What the mounts of every sandbox of one launcher are made of."""

    runtime: Runtime
    app: Path
    test_programs: Path | None
    tmp_bytes: int
    shm_bytes: int
    threads: int


def plan(config: SandboxConfig, runtime: Runtime, app: Path) -> Plan:
    """What the configuration says about mounts."""
    return Plan(runtime, app, config.test_programs, config.tmp_bytes, config.shm_bytes, config.threads)


def library_mounts() -> list[str]:
    """Options that show the host's shared C libraries, and nothing else of /usr.

    Debian keeps them in /usr/lib/<multiarch triplet>, Red Hat in /usr/lib64; /lib and /lib64 are links on
    a merged system and real directories on an old one.
    """
    triplet = f"{platform.machine()}-linux-gnu"
    options: list[str] = []
    folders = [
        folder
        for folder in (f"/usr/lib/{triplet}", "/usr/lib64")
        if Path(folder).is_dir() and not Path(folder).is_symlink()
    ]
    # Where it is neither of the two (Arch), libraries lie in /usr/lib itself.
    for folder in folders or ["/usr/lib"]:
        options += ["--ro-bind", folder, folder]
    for link in ("/lib", "/lib64"):
        if Path(link).is_symlink():
            options += ["--symlink", os.readlink(link), link]
        elif Path(link).is_dir():
            folder = link if link == "/lib64" else f"/lib/{triplet}"
            if Path(folder).is_dir():
                options += ["--ro-bind", folder, folder]
    return options


def environment(made: Plan) -> dict[str, str]:
    """The whole environment of a worker. A fixed hash seed keeps equal inputs giving equal outputs."""
    return {
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(made.threads),
        "MALLOC_ARENA_MAX": "2",
        **made.runtime.environment(RUNTIME),
    }


def options(made: Plan, *, seccomp: int, status: int, copies: dict[str, int]) -> list[str]:
    """Every option of one sandbox; ``copies`` maps a path inside to a descriptor with its content."""
    result = [
        "--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(SANDBOX_ID), "--gid", str(SANDBOX_ID),
        "--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv",
    ]  # fmt: skip
    for name, value in environment(made).items():
        result += ["--setenv", name, value]
    result += ["--ro-bind", str(made.runtime.path), RUNTIME]
    # The copies of other versions of the package are no business of this one.
    result += ["--tmpfs", f"{RUNTIME}/app", "--remount-ro", f"{RUNTIME}/app"]
    result += ["--ro-bind", str(made.app), APP]
    if made.test_programs is not None:
        result += ["--ro-bind", str(made.test_programs), TESTS]
    result += library_mounts()
    for path, descriptor in copies.items():
        result += ["--file", str(descriptor), path]
    result += ["--tmpfs", "/dev"]
    for name in DEVICES:
        result += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for folder, size in zip(SCRATCH, (made.tmp_bytes, made.shm_bytes), strict=True):
        result += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    result += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH[0]]
    return [*result, "--seccomp", str(seccomp), "--json-status-fd", str(status)]


def worker_command(made: Plan, control: int, walls: str) -> list[str]:
    """What runs inside: the runtime's interpreter without site, user site, script path or bytecode writing.

    ``walls`` is JSON for ``inside.main``.
    """
    code = (
        "import sys; sys.path += sys.argv[1:-2]; "
        "from trustspace.sandbox.inside import main; main(int(sys.argv[-2]), sys.argv[-1])"
    )
    paths = [APP, f"{RUNTIME}/site-packages", *([TESTS] if made.test_programs is not None else [])]
    interpreter = f"{RUNTIME}/{made.runtime.executable}"
    return [interpreter, "-S", "-s", "-P", "-B", "-c", code, *paths, str(control), walls]
