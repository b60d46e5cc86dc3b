"""The peers' virtual environments: made once from locked requirements, kept in a cache."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "trustspace-bench"
# What the locks were resolved for; some of the peers publish no wheel for later ones.
PYTHON = (3, 11)


class Unavailable(RuntimeError):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """Somebody else's library, and the driver that asks it."""

    scheme: str
    lock: str
    driver: str
    arguments: tuple[str, ...] = ()
    # How many parameters are measured where more would take hours: each costs what any other does.
    sample: int | None = None


# Ways to sum.
PEERS = (
    Peer("phe-2048", "phe", "drive_phe.py", ("2048",), sample=24),
    Peer("phe-3072", "phe", "drive_phe.py", ("3072",), sample=24),
    Peer("tenseal-ckks-8192", "tenseal", "drive_tenseal.py"),
    Peer("seal-bfv-4096-symmetric", "seal", "drive_seal.py"),
    Peer("flower-secagg-plus", "flwr", "drive_flower.py"),
)
# Ways to tell members of a training from others.
TOOLS = (
    Peer("art", "art", "drive_art.py"),
    Peer("sacroml", "sacroml", "drive_sacroml.py"),
)
# Where packages lie that PyPI does not have; asked only if the configured indexes do not have them either.
INDEXES = {"sacroml": "https://download.pytorch.org/whl/cpu"}


def interpreter(lock: str, cache: Path) -> Path:
    """The Python of the environment that ``<lock>.lock`` describes; made if it is not there.

    Raises Unavailable where there is no such Python or the packages cannot be had.
    """
    wanted = HERE / f"{lock}.lock"
    directory = cache / f"{lock}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    python, whole = directory / "bin" / "python", directory / "whole"
    cache.mkdir(parents=True, exist_ok=True)
    # Two runs that start together make it once.
    with (cache / f"{directory.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(directory, ignore_errors=True)
            _make(directory, wanted, INDEXES.get(lock))
            whole.touch()
    return python


def _make(directory: Path, lock: Path, index: str | None) -> None:
    base = _base()
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "-r",
    ]
    for command in ([base, "-m", "venv", directory], [directory / "bin" / "python", *install, lock]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode and index and lock in command:
            further = [*command, "--extra-index-url", index]
            done = subprocess.run(further, check=False, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(directory, ignore_errors=True)
            last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            raise Unavailable(f"the environment of {lock.name} cannot be made: {last}")


def _base() -> str:
    if sys.version_info[:2] == PYTHON:
        # Not an environment's: that one may go before the cache does.
        return str(Path(sys.base_prefix) / "bin" / f"python{PYTHON[0]}.{PYTHON[1]}")
    found = shutil.which(f"python{PYTHON[0]}.{PYTHON[1]}")
    if found is None:
        raise Unavailable(f"there is no Python {PYTHON[0]}.{PYTHON[1]}")
    return found
