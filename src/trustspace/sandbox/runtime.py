"""The sandbox's runtime: where it is, whether it is whole, and the copy of this package it is given.

A runtime is one self-contained directory, bound read-only into every sandbox as ``/runtime``::

    runtime.json      the stamp: written last, so a directory without it is not a runtime
    python/           an interpreter with its standard library, copied, so that it may come from a
                      directory that the sandbox's user cannot enter and is not changed by an update
    site-packages/    requirements/runtime.lock, installed and compiled
    app/<digest>/     copies of this package, one for each state of its source

``tools/setup_sandbox.py`` builds it (``build.py``). Nothing here needs more than the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from trustspace.errors import CannotIsolate

STAMP = "runtime.json"
STAMP_FORMAT = "trustspace-runtime-v1"
SYSTEM_ROOT = Path("/opt/trustspace")
# What runs inside a sandbox, or starts one.
APP_ROOMS = ("aggregation", "crypto", "data", "domain", "evidence", "jobs", "privacy", "sandbox")
_SOURCES = (".py", ".c", ".h")
# Enclaves of several versions may share a runtime, so a copy goes only when nobody started with it lately.
APP_COPIES_KEPT = 6
APP_COPY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Runtime:
    """A complete runtime on this host.

    ``executable`` is relative to ``path``; ``environment`` is what the interpreter needs to start
    (empty unless it finds its own shared library by a path).
    """

    path: Path
    executable: str
    python_version: str
    lock_sha256: str
    shared_library: bool

    @property
    def python(self) -> Path:
        """The interpreter, as the host sees it."""
        return self.path / self.executable

    def environment(self, root: str) -> dict[str, str]:
        """Variables the interpreter needs when the runtime is seen at ``root``; mostly none."""
        return {"LD_LIBRARY_PATH": f"{root}/python/lib"} if self.shared_library else {}


def user_root() -> Path:
    """Where an ordinary user's runtimes are (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "trustspace"


def lock_file() -> Path | None:
    """``requirements/runtime.lock`` when the package runs from its repository."""
    path = Path(__file__).resolve().parents[3] / "requirements" / "runtime.lock"
    return path if path.is_file() else None


def lock_digest(lock: Path) -> str:
    """Hex SHA-256 of the lock file's requirement lines, comments and blank lines left out."""
    lines = (line.split("#", 1)[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def read_runtime(path: Path) -> Runtime | None:
    """The runtime in that directory, or None when there is none or it is incomplete."""
    try:
        stamp = json.loads((path / STAMP).read_bytes())
        if stamp["format"] != STAMP_FORMAT:
            return None
        found = Runtime(
            path=path.resolve(),
            executable=str(stamp["executable"]),
            python_version=str(stamp["python_version"]),
            lock_sha256=str(stamp["lock_sha256"]),
            shared_library=bool(stamp["shared_library"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if os.access(found.python, os.X_OK) else None


def find_runtime(explicit: Path | None = None) -> Runtime:
    """The runtime to use: ``explicit``, else ``TRUSTSPACE_RUNTIME``, else a built one for this lock file.

    As root only the system's place is looked at, because a home directory is closed to the sandbox's
    user. Without the repository's lock file the newest runtime is taken.

    Raises CannotIsolate when there is none.
    """
    named = explicit or (
        Path(os.environ["TRUSTSPACE_RUNTIME"]) if os.environ.get("TRUSTSPACE_RUNTIME") else None
    )
    if named is not None:
        found = read_runtime(named)
        if found is None:
            raise CannotIsolate(
                "There is no complete sandbox runtime in {path}.",
                fix="Run `make sandbox`, or `python tools/setup_sandbox.py` with the same TRUSTSPACE_RUNTIME.",
                path=str(named),
            )
        return found
    lock = lock_file()
    wanted = lock_digest(lock) if lock else None
    candidates: list[tuple[float, Runtime]] = []
    for root in (SYSTEM_ROOT,) if os.geteuid() == 0 else (SYSTEM_ROOT, user_root()):
        for path in root.glob("runtime-*"):
            runtime = read_runtime(path)
            if runtime is not None and wanted in (None, runtime.lock_sha256):
                candidates.append(((path / STAMP).stat().st_mtime, runtime))
    if not candidates:
        raise CannotIsolate(
            "The sandbox's runtime has not been built on this host.",
            fix="Run `make sandbox` (it calls tools/setup_sandbox.py).",
        )
    return max(candidates, key=lambda candidate: candidate[0])[1]


def package_directory() -> Path:
    """The directory of this very package."""
    return Path(__file__).resolve().parents[1]


def _source_files(package: Path) -> list[tuple[str, bytes]]:
    sources = (path for path in package.rglob("*") if path.suffix in _SOURCES)
    paths = [path for path in sources if path.is_file() and not path.is_symlink()]
    return sorted((path.relative_to(package).as_posix(), path.read_bytes()) for path in paths)


def _measure(files: list[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256(b"trustspace package v1\n")
    for name, content in files:
        digest.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()


def measure_package(package: Path | None = None) -> str:
    """Hex SHA-256 over every source file of the package, Python and C: what software evidence reports.

    The digest is over lines ``<sha256 of the file>  <relative path>`` in the order of the paths, after
    one line that names the format, so that anyone with the source can recompute it.
    """
    return _measure(_source_files(package or package_directory()))


def ensure_app(runtime: Runtime, directory: Path | None = None) -> Path:
    """The directory to put on the sandbox's import path: a copy of this package, made when missing.

    Only the rooms that a sandbox needs are copied; the copy is named by the digest of the whole package
    (measure_package), compiled, and moved into place whole. ``directory`` is used where the runtime
    itself cannot be written to (an enclave that is not root, with a runtime that root built); by default it
    is ``app`` in the user's data home.

    Raises CannotIsolate when there is nowhere to put it.
    """
    files = _source_files(package_directory())
    name = _measure(files)
    shared = runtime.path / "app"
    target = shared / name
    if not target.is_dir() and not os.access(shared, os.W_OK):
        target = (directory or user_root() / "app") / name
    if target.is_dir():
        with contextlib.suppress(PermissionError):
            os.utime(target)
        return target
    home = target.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=home))
    except OSError as error:
        raise CannotIsolate(
            "There is nowhere to put the sandbox's copy of the package: {path}: {reason}.",
            fix="Run `make sandbox` as the owner of the runtime, or configure a directory for the copy.",
            path=str(home),
            reason=error.strerror or "unknown",
        ) from None
    try:
        for relative, content in files:
            first = relative.split("/", 1)[0]
            if ("/" in relative and first not in APP_ROOMS) or not relative.endswith(".py"):
                continue
            path = building / "trustspace" / relative
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            path.write_bytes(content)
        compile_tree(runtime, building, "/app")
        # Whatever our umask is, the sandbox's user must be able to read it.
        for path in [building, *building.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o444)
        try:
            building.rename(target)
        except OSError:
            # Another process made the same copy first; its content is the same by its name.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _remove_old_copies(home)
    return target


def compile_tree(runtime: Runtime, tree: Path, seen_at: str) -> None:
    """Compile a tree with the runtime's interpreter, naming files as a sandbox will see them.

    Unchecked hashes: the tree is read-only where it is used, so sources need not be looked at again.
    """
    subprocess.run(
        [runtime.python, "-I", "-S", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
         "-s", str(tree), "-p", seen_at, str(tree)],
        env=runtime.environment(str(runtime.path)), cwd="/", stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def _remove_old_copies(home: Path) -> None:
    copies = sorted((path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in copies[:-APP_COPIES_KEPT]:
        if time.time() - path.stat().st_mtime > APP_COPY_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
