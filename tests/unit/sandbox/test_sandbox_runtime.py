"""Finding, measuring and copying: only whole runtimes count, and the copy is what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trustspace.errors import CannotIsolate
from trustspace.sandbox import build, runtime
from trustspace.sandbox.runtime import (
    STAMP,
    STAMP_FORMAT,
    ensure_app,
    find_runtime,
    measure_package,
    read_runtime,
)


def make_runtime(path, **changes):
    """A runtime whose interpreter is the one that runs these tests."""
    (path / "python" / "bin").mkdir(parents=True)
    (path / "app").mkdir()
    (path / "python" / "bin" / "python").symlink_to(sys.executable)
    stamp = {"format": STAMP_FORMAT, "executable": "python/bin/python", "python_version": "3.11.0",
             "lock_sha256": "00", "shared_library": False, **changes}  # fmt: skip
    (path / STAMP).write_text(json.dumps(stamp))
    return path


@pytest.fixture
def no_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("TRUSTSPACE_RUNTIME", raising=False)
    monkeypatch.setattr(runtime, "SYSTEM_ROOT", tmp_path / "opt")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_a_directory_without_a_stamp_is_not_a_runtime(tmp_path):
    path = make_runtime(tmp_path / "r")
    assert read_runtime(path).python == path / "python" / "bin" / "python"
    (path / STAMP).unlink()
    assert read_runtime(path) is None
    with pytest.raises(CannotIsolate, match="no complete sandbox runtime"):
        find_runtime(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', "\xff", '{"format": 1}'])
def test_a_broken_stamp_is_not_a_runtime(tmp_path, text):
    path = make_runtime(tmp_path / "r")
    (path / STAMP).write_text(text, encoding="latin-1")
    assert read_runtime(path) is None


def test_a_runtime_without_its_interpreter_is_not_one(tmp_path):
    path = make_runtime(tmp_path / "r")
    (path / "python" / "bin" / "python").unlink()
    assert read_runtime(path) is None


def test_none_is_found_where_none_is(no_setting):
    with pytest.raises(CannotIsolate, match="make sandbox"):
        find_runtime()


def test_the_runtime_of_this_lock_file_is_found_and_no_other(no_setting, tmp_path):
    make_runtime(tmp_path / "opt" / "runtime-other", lock_sha256="ff")
    with pytest.raises(CannotIsolate):
        find_runtime()
    right = make_runtime(
        tmp_path / "opt" / "runtime-right", lock_sha256=runtime.lock_digest(runtime.lock_file())
    )
    assert find_runtime().path == right
    # Without the repository, whatever is there.
    right.rename(tmp_path / "gone")
    runtime_without_lock = pytest.MonkeyPatch()
    with runtime_without_lock.context() as patch:
        patch.setattr(runtime, "lock_file", lambda: None)
        assert find_runtime().lock_sha256 == "ff"


def test_the_environment_names_one(no_setting, monkeypatch, tmp_path):
    path = make_runtime(tmp_path / "mine")
    monkeypatch.setenv("TRUSTSPACE_RUNTIME", str(path))
    assert find_runtime().path == path


def test_as_root_a_home_directory_is_not_looked_at(no_setting, monkeypatch, tmp_path):
    make_runtime(
        tmp_path / "data" / "trustspace" / "runtime-x", lock_sha256=runtime.lock_digest(runtime.lock_file())
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_runtime().path.name == "runtime-x"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(CannotIsolate):
        find_runtime()


def test_the_digest_of_a_lock_ignores_comments_only(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("# a comment\na==1\n\nb==2  # why\n")
    first = runtime.lock_digest(lock)
    lock.write_text("a==1\nb==2\n")
    assert runtime.lock_digest(lock) == first
    lock.write_text("a==1\nb==3\n")
    assert runtime.lock_digest(lock) != first


def make_package(path):
    (path / "jobs").mkdir(parents=True)
    (path / "space").mkdir()
    (path / "__init__.py").write_text("")
    (path / "jobs" / "one.py").write_text("x = 1\n")
    (path / "space" / "two.py").write_text("y = 2\n")
    return path


def test_the_measurement_is_of_every_source_file_and_its_place(tmp_path):
    package = make_package(tmp_path / "trustspace")
    first = measure_package(package)
    assert first == measure_package(package)
    (package / "jobs" / "one.pyc").write_bytes(b"not source")
    assert measure_package(package) == first
    (package / "space" / "two.py").write_text("y = 3\n")
    changed = measure_package(package)
    (package / "space" / "two.py").rename(package / "space" / "three.py")
    moved = measure_package(package)
    (package / "space" / "kernel.c").write_text("int x;")
    assert len({first, changed, moved, measure_package(package)}) == 4


def test_the_measurement_can_be_recomputed_with_other_tools(tmp_path):
    package = make_package(tmp_path / "trustspace")
    script = (
        "(echo 'trustspace package v1'; find . -name '*.py' -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum)"
        " | sha256sum | cut -d' ' -f1"
    )
    said = subprocess.run(
        ["sh", "-c", script], cwd=package, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said == measure_package(package)


@pytest.fixture
def package(monkeypatch, tmp_path):
    package = make_package(tmp_path / "source" / "trustspace")
    monkeypatch.setattr(runtime, "package_directory", lambda: package)
    return package


def test_the_copy_holds_what_a_sandbox_needs_compiled_and_closed(package, tmp_path):
    place = read_runtime(make_runtime(tmp_path / "r"))
    os.umask(0o077)
    try:
        app = ensure_app(place)
    finally:
        os.umask(0o022)
    assert app == place.path / "app" / measure_package(package)
    files = sorted(path.relative_to(app).as_posix() for path in app.rglob("*.py"))
    assert files == ["trustspace/__init__.py", "trustspace/jobs/one.py"]
    assert len(list(app.rglob("*.pyc"))) == 2
    for path in [app, *app.rglob("*")]:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else mode & ~0o022), path
        assert mode & 0o004, path


def test_a_second_copy_is_not_made_and_a_change_makes_one(package, tmp_path, monkeypatch):
    place = read_runtime(make_runtime(tmp_path / "r"))
    first = ensure_app(place)
    monkeypatch.setattr(runtime, "compile_tree", lambda *_: pytest.fail("copied again"))
    assert ensure_app(place) == first
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "package_directory", lambda: package)
    (package / "space" / "two.py").write_text("y = 4\n")
    assert ensure_app(place) != first
    assert not list((place.path / "app").glob(".building-*"))


def test_an_interrupted_copy_leaves_nothing(package, tmp_path, monkeypatch):
    place = read_runtime(make_runtime(tmp_path / "r"))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "compile_tree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensure_app(place)
    assert list((place.path / "app").iterdir()) == []


def test_where_the_runtime_cannot_be_written_the_copy_goes_elsewhere(package, tmp_path, monkeypatch):
    place = read_runtime(make_runtime(tmp_path / "r"))
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path).name == "app" and mode == os.W_OK))
    app = ensure_app(place, tmp_path / "private")
    assert app.parent == tmp_path / "private"
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CannotIsolate, match="nowhere"):
        ensure_app(place, blocked / "below")


def test_an_interpreter_s_copy_stands_alone(tmp_path):
    """Copied, it starts without its original's prefix; the first candidate on this host is tried."""
    interpreter = next(build._interpreters())
    building = tmp_path / "building"
    building.mkdir()
    executable = build._copy_interpreter(interpreter, building)
    copied = runtime.Runtime(building, executable, interpreter.version, "", interpreter.shared)
    assert build._runs(copied)
    said = subprocess.run(
        [copied.python, "-I", "-S", "-c", "import sys, json; print(sys.path, json.__file__)"],
        env=copied.environment(str(building)), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(interpreter.stdlib) not in said
    assert not list(building.rglob("site-packages"))


def test_a_place_that_other_users_cannot_enter_is_refused_to_root(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(CannotIsolate, match="may not enter"):
        build._check_reachable(closed / "runtime")


def test_a_failed_build_leaves_nothing_half_used(tmp_path, monkeypatch):
    interpreter = next(build._interpreters())
    monkeypatch.setattr(build, "_copy_interpreter", lambda *_: "python/bin/python")
    monkeypatch.setattr(build, "_runs", lambda _: True)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_install", fail)
    target = tmp_path / "runtime-x"
    with pytest.raises(KeyboardInterrupt):
        build._build(target, interpreter, tmp_path / "lock", "00", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_bubblewrap_missing_says_what_to_do(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotIsolate, match="apt-get install bubblewrap"):
        build.ensure_bubblewrap(lambda _: None)


def test_a_domain_may_have_a_sandbox_user_of_its_own(monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(build.os, "geteuid", lambda: 0)
    monkeypatch.setattr(build.subprocess, "run", run)
    build.ensure_user(lambda _: None, "root")
    assert asked == [], "a user that is there stays as it is"
    build.ensure_user(lambda _: None, "no-such-sandbox-user")
    ((*_, name),) = asked
    assert name == "no-such-sandbox-user"
    monkeypatch.setattr(build.os, "geteuid", lambda: 1000)
    build.ensure_user(lambda _: None, "another-sandbox-user")
    assert len(asked) == 1, "an ordinary user makes none"
