"""Graphics processors for jobs: what of one a sandbox is shown, and which job has it when.

A job that asks for one (``limits.gpu``) has one whole GPU of NVIDIA's to itself, in namespaces alone. The driver is
part of the host's kernel, and its ioctl interface is large: a hole in it is a way out that no other wall closes.
Therefore nothing of this exists in a sandbox whose job did not ask. What a job left in the GPU's memory is
overwritten, in a fresh sandbox (``clearing``), before the next one gets it, and once before the first.

Written from the driver's documentation and open sources (nvidia-modprobe's nvidia-modprobe-utils, the open kernel
modules' nv-ioctl-numbers.h and uvm_ioctl.h, gVisor's nvproxy) and not yet tried on hardware.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from trustspace.errors import CannotIsolate, Unavailable
from trustspace.sandbox.config import MIB, Limits
from trustspace.sandbox.inside import CLEARING
from trustspace.sandbox.task import Task

# The libraries alone take some gigabytes of address space and start threads by the dozen.
CLEARING_LIMITS: Final = Limits(
    wall_seconds=300, cpu_seconds=300, memory_bytes=4096 * MIB, output_bytes=64 << 10, processes=256, gpu=True
)
CLEARING_TASK: Final = Task(CLEARING, {}, CLEARING_LIMITS)
# Beside nvidia<number>. Not nvidia-uvm-tools (profilers) nor nvidia-modeset (displays).
SHARED_DEVICES: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm")
# What the driver's library looks up of the device and of the machine.
SYSTEM: Final = ("/sys/bus/pci", "/sys/devices", "/sys/module")
# Equal inputs give equal outputs on the same kind of GPU (cuBLAS, "Results reproducibility"); no cache of kernels
# in a home that ends with the job.
ENVIRONMENT: Final = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "CUDA_CACHE_DISABLE": "1",
    "CUDA_VISIBLE_DEVICES": "0",
}
# NV_IOCTL_MAGIC: every ioctl of nvidiactl and nvidia<number> has it as its type.
NV_IOCTL_TYPE: Final = 0x46


def devices(number: int) -> tuple[str, ...]:
    """The device files of one GPU."""
    return (*SHARED_DEVICES, f"/dev/nvidia{number}")


def check(numbers: Iterable[int]) -> None:
    """Raise CannotIsolate unless every one of these GPUs is there."""
    for number in numbers:
        missing = [path for path in devices(number) if not Path(path).exists()]
        if missing:
            raise CannotIsolate(
                "GPU {number} is not there: {missing} does not exist.",
                fix="Install NVIDIA's driver, run `nvidia-modprobe -u -c={number}`, or change gpus in enclave.toml.",
                number=number,
                missing=", ".join(missing),
            )


def driver_folders(listing: str, known: Iterable[str]) -> tuple[str, ...]:
    """Where the driver's libraries are, of what ``ldconfig -p`` lists, beside the folders that are shown anyway."""
    shown = [Path(folder).resolve() for folder in known]
    found: dict[str, None] = {}
    for path in re.findall(r"lib(?:cuda|nvidia-ml|nvidia-ptxjitcompiler)\.so\.\S+ .*=> (\S+)", listing):
        folder = Path(path).resolve().parent
        if not any(folder.is_relative_to(each) for each in shown):
            found[str(folder)] = None
    return tuple(found)


def library_listing() -> str:
    """What the linker's cache holds; empty where there is no ldconfig."""
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            return subprocess.run(
                [program, "-p"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=10, check=False, env={}, cwd="/",
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
    return ""


def mounts(number: int, folders: Sequence[str]) -> list[str]:
    """Options of bubblewrap for one GPU: plain binds are nodev, so devices take ``--dev-bind`` (bwrap(1)).

    /proc is the sandbox's own: the driver's library reads its own mappings there, and jobs see only themselves.
    """
    options = ["--proc", "/proc", "--remount-ro", "/proc"]
    for path in SYSTEM:
        options += ["--ro-bind-try", path, path]
    for folder in folders:
        options += ["--ro-bind", folder, folder]
    for path in devices(number):
        options += ["--dev-bind", path, path]
    return options


def orders(numbers: Iterable[int], folders: Sequence[str], program: str) -> dict[str, Any]:
    """What the launcher is told of GPUs; ``program`` is the compiled filter of their sandboxes, in base64."""
    variables = dict(ENVIRONMENT)
    if folders:
        variables["LD_LIBRARY_PATH"] = ":".join(folders)
    return {
        "filter": program,
        "environment": variables,
        "readable": list(folders),
        "each": {
            str(number): {"mounts": mounts(number, folders), "devices": list(devices(number))}
            for number in numbers
        },
    }


class Leases:
    """Which GPU has a job: one at a time each, and none before it has been cleared. Safe from any thread."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._free: list[int] = []
        self._in_service = set(numbers)
        self._changed = threading.Condition()

    def take(self) -> int:
        """A GPU that nobody has; waits for one. Raises Unavailable when there is none, or none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or not self._in_service)
            if not self._free:
                raise Unavailable(
                    "This enclave has no GPU for jobs.",
                    fix="Leave limits.gpu out of the job, or ask the source unit for an enclave with `gpus`.",
                )
            return self._free.pop(0)

    def give_back(self, number: int) -> None:
        """It is free and cleared."""
        with self._changed:
            if number in self._in_service:
                self._free.append(number)
            self._changed.notify_all()

    def withdraw(self, number: int) -> None:
        """It could not be cleared: nobody gets it any more."""
        with self._changed:
            self._in_service.discard(number)
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody gets any; who waits hears it."""
        with self._changed:
            self._free.clear()
            self._in_service.clear()
            self._changed.notify_all()
