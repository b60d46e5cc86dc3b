"""What a sandbox is allowed, and the tiers of isolation it can have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trustspace.domain.tiers import ANY_TIER, TIERS
from trustspace.errors import InvalidInput

MIB: Final = 1 << 20

DEDICATED_USER: Final = "trustspace-sandbox"
LOG_BYTES: Final = 256 << 10
# What can wall a sandbox in (backends.py).
BACKENDS: Final = ("namespaces", "landlock", "gvisor")
MAX_WARM: Final = 64

Status = Literal["finished", "failed", "killed", "timed_out", "output_too_large"]


@dataclass(frozen=True)
class Limits:
    """What one task may use; all of it is released when the task ends.

    ``cpu_seconds`` counts for each process of the task, ``wall_seconds``, ``memory_bytes`` and
    ``processes`` (threads included) for the whole task. Where no cgroup can be had, memory is counted
    for each process (``Launcher.details["memory"]`` says so). ``gpu``: one whole GPU, waited for.
    """

    wall_seconds: int = 600
    cpu_seconds: int = 1200
    memory_bytes: int = 2048 * MIB
    output_bytes: int = 64 * MIB
    processes: int = 64
    gpu: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "wall_seconds": (1, 7 * 24 * 3600),
            "cpu_seconds": (1, 64 * 7 * 24 * 3600),
            "memory_bytes": (64 * MIB, 1 << 44),
            "output_bytes": (4096, 1 << 36),
            "processes": (2, 4096),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InvalidInput(
                    "The limit {name} is out of range.",
                    fix="Give a whole number from {low} to {high}.",
                    name=name,
                    low=low,
                    high=high,
                )


@dataclass(frozen=True)
class SandboxConfig:
    """How sandboxes are made on this host.

    ``runtime`` None looks for the built one (runtime.find_runtime). ``user`` is whom sandboxes run as when
    we are root; otherwise they run as ourselves. ``app_directory`` is where a copy of the package may be put
    when the runtime cannot be written to. ``threads`` is for numerical libraries: one makes results the same
    on every host (the order of a sum depends on how many share it), and on two virtual cores torch trained a
    small network 80 times slower with two.

    ``backend`` is what walls sandboxes in; a host that cannot give it is refused. ``warm`` sandboxes are kept
    started and waiting, torch imported and no data in them (about 160 MiB each); each is used once.
    ``gpus`` are the numbers of the GPUs that jobs may have (``gpu``), one job at a time each.

    ``test_programs`` is for tests alone: a directory of modules whose functions may then be named as
    ``module:function``. Without it only the programs in trustspace.jobs.programs exist, whatever a task
    says; with it ``Launcher.details["programs"]`` is "test".
    """

    runtime: Path | None = None
    user: str = DEDICATED_USER
    minimum_tier: str = ANY_TIER
    tmp_bytes: int = 64 * MIB
    shm_bytes: int = 64 * MIB
    threads: int = 1
    concurrent: int = 8
    backend: str = "namespaces"
    warm: int = 0
    gpus: tuple[int, ...] = ()
    cgroups: bool = True
    landlock: bool = True
    app_directory: Path | None = None
    test_programs: Path | None = None

    def __post_init__(self) -> None:
        if self.minimum_tier not in (*TIERS, ANY_TIER):
            raise InvalidInput(
                "{tier} is not a tier of isolation.",
                fix="Use one of: {tiers}.",
                tier=self.minimum_tier,
                tiers=", ".join((ANY_TIER, *TIERS)),
            )
        if self.backend not in BACKENDS:
            raise InvalidInput(
                "{backend} is nothing that sandboxes are made with.",
                fix="Use one of: {known}.", backend=self.backend, known=", ".join(BACKENDS),
            )  # fmt: skip
        if self.gpus and self.backend != "namespaces":
            raise InvalidInput(
                "Jobs can have a GPU in namespaces only, not with {backend}.",
                fix='Set sandbox = "namespaces", or gpus = [].', backend=self.backend,
            )  # fmt: skip
        if len(set(self.gpus)) != len(self.gpus) or not all(0 <= number < 64 for number in self.gpus):
            raise InvalidInput(
                "The setting gpus is not a list of different GPUs.",
                fix="Give their numbers as `nvidia-smi -L` shows them: gpus = [0].",
            )
        for name, value, low, high in (("warm", self.warm, 0, MAX_WARM), ("threads", self.threads, 1, 1024)):
            if not low <= value <= high:
                raise InvalidInput(
                    "The setting {name} is out of range.",
                    fix="Give a whole number from {low} to {high}.", name=name, low=low, high=high,
                )  # fmt: skip
