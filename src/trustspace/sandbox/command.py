"""What a backend gives to start one sandbox."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Command:
    """A program to start: its arguments, its whole environment, and the descriptors that it inherits.

    ``stdin`` becomes its standard input, which is empty otherwise. ``open_files`` is how many files it may have
    open. ``leftover`` is a directory to remove when all of the sandbox has ended; there is nothing of a task in it.
    """

    arguments: list[str]
    descriptors: tuple[int, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stdin: int | None = None
    open_files: int | None = None
    leftover: Path | None = None


class Backend(Protocol):
    """One way of making sandboxes.

    ``knows_inner``: it says on the status pipe which process is the first inside. ``own_bytes`` and
    ``own_processes`` are what it needs itself, beside the task, of the memory and processes that a control group
    counts.
    """

    knows_inner: bool
    own_bytes: int
    own_processes: int

    def command(
        self, control: int, status: int, preload: tuple[str, ...], keep: contextlib.ExitStack,
        gpu: int | None = None,
    ) -> Command:  # fmt: skip
        """The command for one more sandbox whose worker listens on ``control``.

        ``gpu`` is the one it has, which only namespaces give (``SandboxConfig``). Descriptors made for it are closed
        by ``keep`` once it is started. Raises OSError, KeyError or ValueError.
        """

    def process_limit(self, processes: int, *, counted: bool) -> int | None:
        """RLIMIT_NPROC for a task that may have so many, None for none; ``counted``: a cgroup counts them too."""


def worker_arguments(interpreter: str, paths: Sequence[str], control: int, ordered: str) -> list[str]:
    """The worker: the runtime's interpreter without site, user site, script path or bytecode writing.

    ``paths`` is where it imports from, ``ordered`` is JSON for ``inside.main``.
    """
    code = (
        "import sys; sys.path += sys.argv[1:-2]; "
        "from trustspace.sandbox.inside import main; main(int(sys.argv[-2]), sys.argv[-1])"
    )
    return [interpreter, "-S", "-s", "-P", "-B", "-c", code, *paths, str(control), ordered]
