"""The command line that makes one sandbox (bwrap(1)); it travels through a descriptor, not in argv.

What is mounted is the runtime, the package's copy, the host's shared C libraries, three harmless devices
and two sized scratch directories, below a read-only root. There is no /proc: a job that cannot see
processes cannot read their environment. The CPU facts that libraries choose their code paths by are copies.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustspace.sandbox.command import worker_arguments
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


def library_folders() -> list[str]:
    """Where the host keeps its shared C libraries, links left out.

    Debian keeps them in /usr/lib/<multiarch triplet>, Red Hat in /usr/lib64; /lib and /lib64 are links on
    a merged system and real directories on an old one.
    """
    triplet = f"{platform.machine()}-linux-gnu"
    folders = [folder for folder in (f"/usr/lib/{triplet}", "/usr/lib64") if _is_real_directory(folder)]
    # Where it is neither of the two (Arch), libraries lie in /usr/lib itself.
    folders = folders or ["/usr/lib"]
    if _is_real_directory("/lib") and Path(f"/lib/{triplet}").is_dir():
        folders.append(f"/lib/{triplet}")
    if _is_real_directory("/lib64"):
        folders.append("/lib64")
    return folders


def _is_real_directory(path: str) -> bool:
    return Path(path).is_dir() and not Path(path).is_symlink()


def library_mounts() -> list[str]:
    """Options that show the host's shared C libraries, and nothing else of /usr."""
    options: list[str] = []
    for folder in library_folders():
        options += ["--ro-bind", folder, folder]
    for link in ("/lib", "/lib64"):
        if Path(link).is_symlink():
            options += ["--symlink", os.readlink(link), link]
    return options


def environment(made: Plan, root: str = RUNTIME) -> dict[str, str]:
    """The whole environment of a worker that sees its runtime at ``root``.

    A fixed hash seed keeps equal inputs giving equal outputs.
    """
    return {
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(made.threads),
        "MALLOC_ARENA_MAX": "2",
        **made.runtime.environment(root),
    }


def options(
    made: Plan, *, seccomp: int, status: int, copies: dict[str, int],
    more: Sequence[str] = (), variables: Mapping[str, str] | None = None,
) -> list[str]:  # fmt: skip
    """Every option of one sandbox; ``copies`` maps a path inside to a descriptor with its content.

    ``more`` are mounts, and ``variables`` what the environment has, beside what every sandbox has.
    """
    result = [
        "--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(SANDBOX_ID), "--gid", str(SANDBOX_ID),
        "--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv",
    ]  # fmt: skip
    own, added = environment(made), dict(variables or {})
    if (path := "LD_LIBRARY_PATH") in own and path in added:
        # The interpreter's own library comes first.
        added[path] = f"{own[path]}:{added[path]}"
    for name, value in {**own, **added}.items():
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
    result += more
    for folder, size in zip(SCRATCH, (made.tmp_bytes, made.shm_bytes), strict=True):
        result += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    result += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH[0]]
    return [*result, "--seccomp", str(seccomp), "--json-status-fd", str(status)]


def worker_command(made: Plan, control: int, walls: str) -> list[str]:
    """What runs inside; ``walls`` is JSON for ``inside.main``."""
    paths = [APP, f"{RUNTIME}/site-packages", *([TESTS] if made.test_programs is not None else [])]
    return worker_arguments(f"{RUNTIME}/{made.runtime.executable}", paths, control, walls)
