"""Control groups: memory, processes and processors for a whole task (cgroups(7)), where the host lets us.

The enclave's side, while it may be root, makes one directory for its launcher and gives it to the
sandbox's user (``prepare``); the launcher makes one below it for each task. Version 2 needs a delegated
subtree (``Delegate=yes`` in systemd) or root; version 1 needs root. Without either, ``prepare`` returns
None and resource limits alone hold, for each process. The controller of processors may be missing alone
(``Base.cpu`` is empty then).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustspace.sandbox.config import Limits

ROOT = Path("/sys/fs/cgroup")
PREFIX = "trustspace-"
# The threads that libraries start while a warm worker imports them.
WAITING_PROCESSES = 62
# The kernel's own default period of a quota, in microseconds (Documentation/scheduler/sched-bwc.rst).
PERIOD_US = 100_000


@dataclass(frozen=True)
class Base:
    """A launcher's own directory: in version 2 one, in version 1 one in each hierarchy."""

    version: int
    memory: str
    pids: str
    cpu: str = ""

    def to_message(self) -> dict[str, Any]:
        return {"version": self.version, "memory": self.memory, "pids": self.pids, "cpu": self.cpu}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Base:
        version, *folders = (message[name] for name in ("version", "memory", "pids", "cpu"))
        return cls(int(version), *map(str, folders))

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(Path(one) for one in (self.memory, self.pids, self.cpu) if one))


def prepare(
    uid: int, gid: int, *, root: Path = ROOT, process: Path = Path("/proc/self/cgroup")
) -> Base | None:
    """Make the launcher's directory and give it to the sandbox's user; None where that cannot be done."""
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    for attempt in (_prepare_v2, _prepare_v1):
        try:
            base = attempt(root, process.read_text(encoding="ascii"), name)
            if base is None:
                continue
            _remove_abandoned(base)
            _give(base, uid, gid)
        except OSError:
            continue
        return base
    return None


def _prepare_v2(root: Path, memberships: str, name: str) -> Base | None:
    own = next((line[3:].lstrip("/") for line in memberships.splitlines() if line.startswith("0::")), None)
    if own is None or not (root / "cgroup.controllers").is_file():
        return None
    # Below our own group when it is delegated to us and may have children, else, as root, at the top.
    for parent in (root / own, *([root] if os.geteuid() == 0 else [])):
        if not {"memory", "pids"} <= set((parent / "cgroup.controllers").read_text().split()):
            continue
        with contextlib.suppress(OSError):
            _step_aside(parent)
            # Refused (EBUSY) while processes are in the group itself, unless it is the root.
            (parent / "cgroup.subtree_control").write_text("+memory +pids")
        if not {"memory", "pids"} <= set((parent / "cgroup.subtree_control").read_text().split()):
            continue
        folder = parent / name
        try:
            folder.mkdir()
            (folder / "cgroup.subtree_control").write_text("+memory +pids")
        except OSError:
            continue
        return Base(2, str(folder), str(folder), str(folder) if _with_cpu(parent, folder) else "")
    return None


def _with_cpu(*groups: Path) -> bool:
    """Ask for the controller of processors from the top down; whether the last group's children have it."""
    for group in groups:
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text("+cpu")
    with contextlib.suppress(OSError):
        return "cpu" in (groups[-1] / "cgroup.subtree_control").read_text().split()
    return False


def _step_aside(parent: Path) -> None:
    """When we are the only process of a delegated group, move into a leaf, so that it may have children."""
    if (parent / "cgroup.procs").read_text().split() == [str(os.getpid())]:
        leaf = parent / "enclave"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))


def _prepare_v1(root: Path, memberships: str, name: str) -> Base | None:
    folders: dict[str, str] = {}
    for controller in ("memory", "pids", "cpu"):
        mount = root / controller
        if not (mount / "cgroup.procs").is_file():
            if controller == "cpu":
                break
            return None
        own = next(
            (line.split(":", 2)[2].lstrip("/") for line in memberships.splitlines()
             if controller in line.split(":", 2)[1].split(",")),
            "",
        )  # fmt: skip
        parent = mount / own if (mount / own).is_dir() else mount
        (parent / name).mkdir()
        folders[controller] = str(parent / name)
    return Base(1, **folders)


def _give(base: Base, uid: int, gid: int) -> None:
    for folder in base.folders:
        os.chown(folder, uid, gid)
        for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"):
            with contextlib.suppress(FileNotFoundError):
                os.chown(folder / name, uid, gid)
        if base.version == 2:
            # Moving a process needs the right to write at the common ancestor, so the launcher lives inside.
            leaf = folder / "launcher"
            leaf.mkdir()
            for path in (leaf, leaf / "cgroup.procs"):
                os.chown(path, uid, gid)


def enter_launcher(base: Base, pid: int) -> None:
    """Put the launcher's process where it may start tasks from (version 2 only)."""
    if base.version == 2:
        (Path(base.memory) / "launcher" / "cgroup.procs").write_text(str(pid))


def remove(base: Base) -> None:
    """Remove the launcher's directory once everything in it has ended."""
    for folder in base.folders:
        _remove_tree(folder)


def _remove_tree(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for child in [entry for entry in folder.iterdir() if entry.is_dir()]:
            _remove_tree(child)
        folder.rmdir()


def _remove_abandoned(base: Base) -> None:
    """Directories of enclaves that were killed: empty, and their process is gone."""
    for folder in base.folders:
        for other in folder.parent.glob(f"{PREFIX}*-*"):
            if not Path(f"/proc/{other.name.split('-')[1]}").exists():
                _remove_tree(other)


class Group:
    """One sandbox's group, made and used by the launcher."""

    def __init__(self, base: Base, name: str, *, own_bytes: int = 0, own_processes: int = 2) -> None:
        """``own``: what the backend needs itself, on top of what a task may use (``command.Backend``).

        Raises OSError when it cannot be made; nothing is left then. It has no limits yet.
        """
        self._own_bytes, self._own_processes = own_bytes, own_processes
        self._version = base.version
        self._memory = Path(base.memory) / name
        self._pids = Path(base.pids) / name
        self._cpu = Path(base.cpu) / name if base.cpu else None
        try:
            for folder in self._folders:
                folder.mkdir()
            self._set(self._pids, "pids.max", WAITING_PROCESSES + own_processes)
        except OSError:
            self.remove()
            raise

    def limit(self, limits: Limits, shared_bytes: int = 0, *, processors: int = 0) -> None:
        """From now on the group may use what a task may. Raises OSError when it uses more already.

        A page counts for whoever touches it first, whosever the memory file is: ``shared_bytes`` is what
        the task is to fill of ours, and comes on top of its limit. ``processors``: how many it may keep busy on
        average, 0 for all.
        """
        memory_bytes = limits.memory_bytes + shared_bytes + self._own_bytes
        if self._version == 2:
            # Version 2 would accept a limit below what is used, and kill.
            if self._number("memory.current") > memory_bytes:
                raise OSError("the group uses more memory than the task may")
            self._set(self._memory, "memory.max", memory_bytes)
            self._set(self._memory, "memory.swap.max", 0, optional=True)
            self._set(self._memory, "memory.oom.group", 1, optional=True)
        else:
            self._set(self._memory, "memory.limit_in_bytes", memory_bytes)
            self._set(self._memory, "memory.memsw.limit_in_bytes", memory_bytes, optional=True)
        self._set(self._pids, "pids.max", limits.processes + self._own_processes)
        if self._cpu is not None and processors:
            # Version 1 refuses more than a group around ours has, which then is the limit.
            if self._version == 2:
                self._set(self._cpu, "cpu.max", f"{processors * PERIOD_US} {PERIOD_US}", optional=True)
            else:
                self._set(self._cpu, "cpu.cfs_period_us", PERIOD_US, optional=True)
                self._set(self._cpu, "cpu.cfs_quota_us", processors * PERIOD_US, optional=True)

    def _number(self, name: str) -> int:
        return int((self._memory / name).read_text())

    @property
    def _folders(self) -> tuple[Path, ...]:
        return tuple(
            dict.fromkeys((self._memory, self._pids, *([self._cpu] if self._cpu is not None else [])))
        )

    @staticmethod
    def _set(folder: Path, name: str, value: int | str, *, optional: bool = False) -> None:
        try:
            (folder / name).write_text(str(value))
        except OSError:
            if not optional:
                raise

    def enter(self) -> None:
        """Move the calling process in; its children follow."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text("0")

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in this group because its memory was used up."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (self._memory / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value) > 0
        return False

    def peak_bytes(self) -> int:
        """The most memory the task has used at once, 0 where the kernel does not say."""
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                return int((self._memory / name).read_text())
        return 0

    def kill(self) -> None:
        """Kill every process in the group."""
        with contextlib.suppress(OSError):
            if self._version == 2:
                (self._memory / "cgroup.kill").write_text("1")
                return
            for line in (self._pids / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    os.kill(int(line), signal.SIGKILL)

    def remove(self) -> None:
        """Remove the group; the kernel may need a moment after the last process."""
        for folder in self._folders:
            for _ in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.002)
                else:
                    break
