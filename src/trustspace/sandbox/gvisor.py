"""gVisor (gvisor.dev): a sandbox whose system calls a kernel of its own answers, written in Go, in user space.

Of the host's kernel a job reaches what that kernel, itself behind a system call filter and in empty namespaces,
needs for it. ``runsc`` runs rootless, as the sandbox's user, without a network, on the platform ``systrap`` or,
in builds before it, ``ptrace``. The worker is the one program in it; its standard input is the control socket,
through which its descriptors come as in every sandbox (a host socket's SCM_RIGHTS arrive inside as files of the
host: gVisor's fsimpl/host). There is no Landlock inside; our own filter is loaded by the worker, as a second
wall before gVisor's kernel.

Private memory is not counted for each process in there (RLIMIT_DATA stops brk alone), so memory must be counted
by a control group: a host without one is refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trustspace.errors import TrustspaceError
from trustspace.sandbox import bubblewrap, cgroup, limits, memory
from trustspace.sandbox.command import Command
from trustspace.sandbox.config import MIB, SandboxConfig
from trustspace.sandbox.identity import Identity, sandbox_identity
from trustspace.sandbox.layout import APP, RUNTIME, SANDBOX_ID, SCRATCH, TESTS
from trustspace.sandbox.runtime import ensure_app, find_runtime

PREFIX: Final = "trustspace-gvisor-"
# Its kernel and the process that serves it files hold a descriptor for each file they know of.
OPEN_FILES: Final = 8192
# OCI runtime specification, config.md: what is not named here a container has not got.
_LIMIT_NAMES: Final = {
    resource.RLIMIT_CORE: "RLIMIT_CORE",
    resource.RLIMIT_NOFILE: "RLIMIT_NOFILE",
    resource.RLIMIT_STACK: "RLIMIT_STACK",
    resource.RLIMIT_MEMLOCK: "RLIMIT_MEMLOCK",
    resource.RLIMIT_MSGQUEUE: "RLIMIT_MSGQUEUE",
    resource.RLIMIT_NICE: "RLIMIT_NICE",
    resource.RLIMIT_RTPRIO: "RLIMIT_RTPRIO",
}
_CAPABILITY_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")


@dataclass(frozen=True)
class Tools:
    """The programs that make a sandbox: paths of runsc and of util-linux's unshare, and runsc's platform."""

    program: str
    platform: str
    unshare: str


@dataclass(frozen=True)
class GvisorFacts:
    """What was seen of gVisor on this host; ``counted``: a control group counts memory for it.

    ``tools`` is None where there is no runsc.
    """

    tools: Tools | None
    version: str
    counted: bool
    trial_error: str | None


def gather(config: SandboxConfig) -> GvisorFacts:
    """Look for runsc and start a sandbox that does nothing, as the user they run as."""
    program, unshare = shutil.which("runsc"), shutil.which("unshare")
    if program is None or unshare is None:
        return GvisorFacts(None, "", counted=False, trial_error=None)
    version = version_of(_said([program, "--version"]))
    tools = Tools(program, platform_of(_said([program, "flags"])), unshare)
    try:
        identity = sandbox_identity(config.user)
        runtime = find_runtime(config.runtime)
        made = bubblewrap.plan(config, runtime, ensure_app(runtime, config.app_directory))
        error = _trial(tools, made, identity)
        base = cgroup.prepare(identity.uid, identity.gid) if config.cgroups else None
        if base is not None:
            cgroup.remove(base)
    except TrustspaceError as problem_:
        error, base = str(problem_), None
    return GvisorFacts(tools, version, counted=base is not None, trial_error=error)


def problem(facts: GvisorFacts) -> tuple[str, str] | None:
    """Why this host cannot give gVisor: a finding's name and what was said; None when it can. Pure."""
    if facts.tools is None:
        return "gvisor-missing", ""
    if facts.trial_error is not None:
        return "gvisor-trial", facts.trial_error
    if not facts.counted:
        return "gvisor-uncounted", ""
    return None


def platform_of(flags: str) -> str:
    """The platform to use, of what ``runsc flags`` lists: systrap where it exists, else ptrace.

    Neither needs a device; kvm would, and the right to use it.
    """
    listed = re.search(r"-platform\s[^\n]*\n?[^\n]*", flags)
    return "systrap" if listed and "systrap" in listed.group() else "ptrace"


def version_of(said: str) -> str:
    """The version in what ``runsc --version`` says, which differs between builds."""
    found = re.search(r"version\s+(\S+)", said)
    return found.group(1) if found else ""


class Gvisor:
    """One runsc, and so one kernel, for each sandbox (OCI runtime specification 1.0)."""

    knows_inner = False
    # Its two processes take 25 MiB, and threads, most of them asleep, the more the more processors there are.
    own_bytes = 32 * MIB
    own_processes = 256

    def __init__(self, orders: dict[str, Any], plan: bubblewrap.Plan, seccomp: int) -> None:
        self._plan = plan
        self._tools = Tools(**orders["gvisor"])
        self._filter = base64.b64encode(memory.read(seccomp, 1 << 20)).decode("ascii")
        remove_abandoned()

    def process_limit(self, processes: int, *, counted: bool) -> int | None:
        """The limit is for a user inside, and every sandbox has its own kernel."""
        return processes

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack,
        gpu: int | None = None,
    ) -> Command:  # fmt: skip
        walls = json.dumps({"preload": preload, "filter": self._filter})
        # 0: its standard input.
        worker = bubblewrap.worker_command(self._plan, 0, walls)
        folder = make_bundle(self._plan, worker)
        return Command(
            arguments(self._tools, folder), (),
            stdin=control, open_files=OPEN_FILES, leftover=folder,
        )  # fmt: skip


def arguments(tools: Tools, folder: Path) -> list[str]:
    """The command line for one bundle. Nothing of the host is shown, and nothing is written to its disks.

    In a network of its own from the start: runsc listens for orders on an abstract socket, which everybody in its
    network namespace could connect to (unshare(1), unix(7)).
    """
    return [
        tools.unshare, "--user", "--map-current-user", "--net", "--ipc", "--uts", "--",
        tools.program, "--rootless", "--network=none", f"--platform={tools.platform}", "--overlay2=none",
        "--host-uds=none", "--ignore-cgroups", f"--root={folder}/state", "run", f"--bundle={folder}", "sandbox",
    ]  # fmt: skip


def make_bundle(made: bubblewrap.Plan, command: list[str]) -> Path:
    """A directory with what runsc asks for: an almost empty root, and ``config.json``.

    Raises OSError when there is no place for it.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        spec = configuration(made, command, folder / "root")
        (folder / "state").mkdir()
        (folder / "root").mkdir()
        for mount in spec["mounts"]:
            (folder / "root" / mount["destination"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        for link in ("/lib", "/lib64"):
            if Path(link).is_symlink():
                (folder / "root" / link.lstrip("/")).symlink_to(os.readlink(link))
        for path in (folder / "root", *(folder / "root").rglob("*")):
            if not path.is_symlink():
                # Inside, their owner is somebody else.
                path.chmod(0o755)
        (folder / "config.json").write_text(json.dumps(spec), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def configuration(made: bubblewrap.Plan, command: list[str], root: Path) -> dict[str, Any]:
    """The container's ``config.json``: the same things in the same places as in every other sandbox.

    /dev, /proc and /sys are there as well, whether asked for or not: gVisor's own, with nothing of the host but
    the number and kind of its processors and its memory.
    """

    def shown(source: str | Path, destination: str) -> dict[str, Any]:
        return {"type": "bind", "source": str(source), "destination": destination, "options": ["ro", "rbind"]}

    def scratch(destination: str, size: int, *options: str) -> dict[str, Any]:
        return {
            "type": "tmpfs", "source": "tmpfs", "destination": destination,
            "options": [f"size={size}", *options],
        }  # fmt: skip

    mounts = [
        shown(made.runtime.path, RUNTIME),
        # The copies of other versions of the package are no business of this one.
        scratch(f"{RUNTIME}/app", 4096, "ro", "mode=0755"),
        shown(made.app, APP),
        *([shown(made.test_programs, TESTS)] if made.test_programs is not None else []),
        *(shown(folder, folder) for folder in bubblewrap.library_folders()),
        *(
            scratch(folder, size, "mode=1777")
            for folder, size in zip(SCRATCH, (made.tmp_bytes, made.shm_bytes), strict=True)
        ),
    ]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": SANDBOX_ID, "gid": SANDBOX_ID},
            "args": command,
            "env": [f"{name}={value}" for name, value in bubblewrap.environment(made).items()],
            "cwd": SCRATCH[0],
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in _CAPABILITY_SETS},
            "rlimits": [
                {"type": _LIMIT_NAMES[number], "soft": soft, "hard": hard}
                for number, (soft, hard) in limits.before_exec().items()
            ],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "sandbox",
        "mounts": mounts,
        "linux": {"namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")]},
    }


def remove_abandoned(folder: Path | None = None) -> None:
    """Remove what launchers left that were killed: ours, and of a process that is gone."""
    for path in (folder or Path(tempfile.gettempdir())).glob(f"{PREFIX}*-*"):
        with contextlib.suppress(OSError):
            mine = path.lstat().st_uid == os.getuid()
            if mine and not Path(f"/proc/{path.name.removeprefix(PREFIX).split('-')[0]}").exists():
                shutil.rmtree(path, ignore_errors=True)


def _said(command: list[str]) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=10, check=False, env={}, cwd="/",
        )  # fmt: skip
        return done.stdout
    return ""


def _trial(tools: Tools, made: bubblewrap.Plan, identity: Identity) -> str | None:
    """Start a sandbox that does nothing; None when it works, else what was said."""
    interpreter = f"{RUNTIME}/{made.runtime.executable}"
    folder = None
    try:
        folder = make_bundle(made, [interpreter, "-S", "-s", "-P", "-B", "-c", "pass"])
        for path in (folder, *folder.rglob("*")):
            os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
        done = subprocess.run(
            arguments(tools, folder), env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            timeout=60, check=False, **identity.drop(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][:300] if said else f"exit status {done.returncode}"
