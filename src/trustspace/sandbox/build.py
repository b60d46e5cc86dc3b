"""Building the sandbox's runtime and everything it needs on this host, once.

Called by ``tools/setup_sandbox.py`` before anything is installed, so the standard library must do.
Each step looks first and does nothing when there is nothing to do; a runtime is built under a
temporary name and renamed when it is whole, so an interrupted build leaves nothing half-used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trustspace.errors import CannotIsolate, TrustspaceError
from trustspace.sandbox.config import DEDICATED_USER
from trustspace.sandbox.runtime import (
    STAMP,
    STAMP_FORMAT,
    SYSTEM_ROOT,
    Runtime,
    compile_tree,
    lock_digest,
    read_runtime,
    user_root,
)

Say = Callable[[str], None]

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)
# Parts of a standard library that no job can use, by their top name.
LEFT_OUT = {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3",
            "__pycache__", "EXTERNALLY-MANAGED"}  # fmt: skip

_ASK = """
import json, os, sys, sysconfig
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "executable": os.path.realpath(sys.executable),
    "prefix": sys.base_prefix,
    "stdlib": sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}),
    "platstdlib": sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
    "libdir": sysconfig.get_config_var("LIBDIR") or "",
    "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that a runtime's copy can be made from."""

    version: str
    executable: Path
    prefix: Path
    stdlib: Path
    platstdlib: Path
    libdir: Path
    shared: bool

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def ensure_bubblewrap(say: Say) -> None:
    """Install bubblewrap and libseccomp through apt when they are missing and we may.

    Raises CannotIsolate, saying what to do, when bubblewrap stays missing.
    """
    missing = [] if shutil.which("bwrap") else ["bubblewrap"]
    if not _has_libseccomp():
        missing.append("libseccomp2")
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {' and '.join(missing)} through apt")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", *missing]):
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if done.returncode != 0:
                tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-3:]
                say(f"{' '.join(command)} failed: {' / '.join(tail)}")
    if shutil.which("bwrap") is None:
        raise CannotIsolate(
            "bubblewrap is not installed, and this user may not install it.",
            fix="Ask for it: `apt-get install bubblewrap` (Debian, Ubuntu) or `dnf install bubblewrap` (RHEL).",
        )


def _has_libseccomp() -> bool:
    folders = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
    return any(
        next(Path(folder).glob(f"{sub}libseccomp.so.2"), None) for folder in folders for sub in ("", "*/")
    )


def ensure_user(say: Say, user: str = DEDICATED_USER) -> None:
    """As root: the system user that sandboxes run as, without login and home. Otherwise nothing."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(user)
        return
    except KeyError:
        pass
    say(f"creating the system user {user}")
    nologin = next(
        (path for path in ("/usr/sbin/nologin", "/sbin/nologin") if Path(path).exists()), "/bin/false"
    )
    done = subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", nologin,
         "--comment", "trustspace sandboxes", user],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotIsolate(
            "The system user {user} cannot be created: {reason}.",
            fix="Create it with `useradd --system --no-create-home`, or run the enclave as an ordinary user.",
            user=user,
            reason=done.stderr.decode(errors="replace").strip(),
        )


def ensure_runtime(lock: Path, say: Say) -> Runtime:
    """Build the runtime for this lock file unless it is there; return it.

    As root under /opt/trustspace, as an ordinary user under its data home, or exactly at
    ``TRUSTSPACE_RUNTIME``. Raises CannotIsolate when no interpreter will do, TrustspaceError when the
    packages do not install.
    """
    digest = lock_digest(lock)
    for interpreter in _interpreters():
        places = _places(digest, interpreter)
        ready = _ready(places, digest, interpreter)
        if ready is not None:
            return ready
        target = places[0]
        _check_reachable(target)
        with _alone(target.parent, say):
            ready = _ready(places, digest, interpreter)
            if ready is not None:
                return ready
            say(
                f"building the runtime in {target} from Python {interpreter.version} ({interpreter.executable})"
            )
            built = _build(target, interpreter, lock, digest, say)
        if built is not None:
            others = [str(path) for path in target.parent.glob("runtime-*") if path != target]
            if others:
                say(f"no longer needed by this version, remove when nothing uses them: {' '.join(others)}")
            return built
        say(f"{interpreter.executable} cannot be copied; trying another")
    raise CannotIsolate(
        "No Python between 3.11 and 3.14 on this host can be copied into a runtime.",
        fix="Install one, for example `apt-get install python3` on Debian 12 or later.",
    )


def _places(digest: str, interpreter: Interpreter) -> list[Path]:
    """Where this runtime may be already; the first is where it is built."""
    named = os.environ.get("TRUSTSPACE_RUNTIME")
    if named:
        return [Path(named).absolute()]
    key = hashlib.sha256(
        f"{STAMP_FORMAT}\n{digest}\n{interpreter.version}\n{os.uname().machine}".encode()
    ).hexdigest()
    roots = [SYSTEM_ROOT] if os.geteuid() == 0 else [user_root(), SYSTEM_ROOT]
    return [root / f"runtime-{key[:12]}" for root in roots]


def _ready(places: list[Path], digest: str, interpreter: Interpreter) -> Runtime | None:
    found = (read_runtime(place) for place in places)
    return next(
        (
            each
            for each in found
            if each and (each.lock_sha256, each.python_version) == (digest, interpreter.version)
        ),
        None,
    )


def _check_reachable(target: Path) -> None:
    """As root: raise CannotIsolate when the sandbox's user could not enter the place."""
    if os.geteuid() != 0:
        return
    for folder in target.parents:
        if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
            raise CannotIsolate(
                "The runtime cannot be built in {target}: other users may not enter {folder}.",
                fix="Choose another place for TRUSTSPACE_RUNTIME, or leave it unset.",
                target=str(target),
                folder=str(folder),
            )


@contextlib.contextmanager
def _alone(root: Path, say: Say) -> Iterator[None]:
    """One build at a time; the second finds the first one's work done."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _interpreters() -> Iterator[Interpreter]:
    """Candidates, best first: the system's with our own minor version, our own, then newer ones."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    minors = [f"3.{minor}" for minor in range(OLDEST_PYTHON[1], NEWEST_PYTHON[1] + 1)]
    paths = [
        f"/usr/bin/python{own}",
        f"/usr/local/bin/python{own}",
        getattr(sys, "_base_executable", sys.executable),
    ]
    paths += [found for minor in minors if (found := shutil.which(f"python{minor}"))]
    seen: set[Path] = set()
    for path in paths:
        interpreter = _ask(path)
        if interpreter is None or interpreter.executable in seen:
            continue
        seen.add(interpreter.executable)
        if OLDEST_PYTHON <= tuple(int(part) for part in interpreter.version.split(".")[:2]) <= NEWEST_PYTHON:
            yield interpreter


def _ask(path: str) -> Interpreter | None:
    try:
        said = subprocess.run(
            [path, "-I", "-S", "-c", _ASK], capture_output=True, timeout=30, check=True
        ).stdout
        facts = json.loads(said)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    folders = {name: Path(facts[name]) for name in ("executable", "prefix", "stdlib", "platstdlib", "libdir")}
    return Interpreter(version=facts["version"], shared=facts["shared"], **folders)


def _build(target: Path, interpreter: Interpreter, lock: Path, digest: str, say: Say) -> Runtime | None:
    # Alone by now: whatever is half-built was interrupted.
    for abandoned in target.parent.glob(".building-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        building.chmod(0o755)
        executable = _copy_interpreter(interpreter, building)
        runtime = Runtime(
            path=building,
            executable=executable,
            python_version=interpreter.version,
            lock_sha256=digest,
            shared_library=any((building / "python" / "lib").glob("libpython*")),
        )
        if not _runs(runtime):
            return None
        say("installing the pinned packages (torch is large)")
        _install(runtime, lock)
        say("compiling")
        compile_tree(runtime, building, "/runtime")
        (building / "app").mkdir()
        _close(building)
        stamp = {
            "format": STAMP_FORMAT,
            **{name: value for name, value in asdict(runtime).items() if name != "path"},
        }
        (building / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        (building / STAMP).chmod(0o644)
        if target.exists():
            # Stale or broken: out of the way first, since a directory cannot be replaced in one step.
            aside = building.with_name(building.name + "-old")
            target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return read_runtime(target)


def _copy_interpreter(interpreter: Interpreter, building: Path) -> str:
    """Copy executable, standard library and own shared library, keeping their places below the prefix."""
    home = building / "python"
    name = f"python{interpreter.minor}"
    (home / "bin").mkdir(parents=True)
    shutil.copy2(interpreter.executable, home / "bin" / name)
    for folder in {interpreter.stdlib, interpreter.platstdlib}:
        inside = folder.relative_to(interpreter.prefix)
        shutil.copytree(
            folder,
            home / inside,
            ignore=lambda _, names: [
                each for each in names if each in LEFT_OUT or each.startswith("config-")
            ],
            ignore_dangling_symlinks=True,
            dirs_exist_ok=True,
        )
    if interpreter.shared and interpreter.prefix != Path("/usr"):
        for library in interpreter.libdir.glob(f"libpython{interpreter.minor}*.so*"):
            (home / "lib").mkdir(exist_ok=True)
            shutil.copy2(library, home / "lib" / library.name)
    # Never look for packages beside the copy, whatever the distribution's sitecustomize would do.
    for extra in home.glob("lib*/python3*/sitecustomize.py"):
        extra.unlink()
    return f"python/bin/{name}"


def _runs(runtime: Runtime) -> bool:
    """Whether the copied interpreter starts and has the modules that need shared libraries."""
    check = (
        "import sys, ctypes, hashlib, json, mmap, socket, zlib;"
        f"assert sys.prefix == {str(runtime.path / 'python')!r}, sys.prefix"
    )
    done = subprocess.run(
        [runtime.python, "-I", "-S", "-c", check],
        env=runtime.environment(str(runtime.path)), cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def _install(runtime: Runtime, lock: Path) -> None:
    """Install the lock file with a pip of ours for the copied interpreter, into a plain directory."""
    pip = next((python for python in _pythons_with_pip()), None)
    if pip is None:
        raise CannotIsolate(
            "No pip is at hand to install the sandbox's packages.",
            fix="Run tools/setup_sandbox.py with the project's virtual environment: `.venv/bin/python`.",
        )
    command = [pip, "-m", "pip", "--python", str(runtime.python), "install", "--quiet", "--no-compile",
               "--disable-pip-version-check", "--root-user-action=ignore", "--only-binary", ":all:",
               "--target", str(runtime.path / "site-packages"), "--requirement", str(lock)]  # fmt: skip
    environment = {**os.environ, **runtime.environment(str(runtime.path)), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise TrustspaceError(
            "pip could not install {lock} for Python {version}.",
            fix="Its messages are above; check the network or the package index (PIP_INDEX_URL, PIP_FIND_LINKS).",
            lock=str(lock),
            version=runtime.python_version,
        )
    shutil.rmtree(runtime.path / "site-packages" / "bin", ignore_errors=True)


def _pythons_with_pip() -> Iterator[str]:
    project = Path(__file__).resolve().parents[3] / ".venv" / "bin" / "python"
    for python in (sys.executable, str(project)):
        try:
            subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        yield python


def _close(tree: Path) -> None:
    """Readable by everyone, writable by its owner alone."""
    for folder, _, names in os.walk(tree):
        os.chmod(folder, 0o755)  # noqa: S103 - public software
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.access(path, os.X_OK) else 0o644)
