"""Atomic writing: the old content or the new one, whatever goes wrong."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from trustspace.errors import AlreadyExists, Unavailable
from trustspace.storage import files
from trustspace.storage.files import fsync_dir, sweep_temporary, write_atomic, write_new


@contextmanager
def no_file_larger_than(size):
    """A real limit of the system (EFBIG), in place of a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "state"
    for content in (b"one", b"", b"x" * 200_000):
        write_atomic(path, content)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_the_mode_is_exactly_what_was_asked(tmp_path, mask, mode, write):
    with umask(mask):
        write(tmp_path / "state", b"x", mode)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == mode


def test_private_by_default(tmp_path):
    write_atomic(tmp_path / "state", b"x")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_a_failed_write_leaves_the_old_state(tmp_path, write):
    old = tmp_path / "old"
    write_atomic(old, b"old content")
    target = old if write is write_atomic else tmp_path / "new"
    with no_file_larger_than(50), pytest.raises(Unavailable) as caught:
        write(target, b"n" * 100)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert os.listdir(tmp_path) == ["old"]
    assert old.read_bytes() == b"old content"
    write(target, b"n" * 100)  # the control: with room it works
    assert target.read_bytes() == b"n" * 100


def test_writing_in_place_would_have_lost_it(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"old content")
    with no_file_larger_than(50), pytest.raises(OSError):
        path.write_bytes(b"n" * 100)
    assert path.read_bytes() != b"old content"


@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace"])
def test_a_failure_at_any_step_leaves_the_old_state(tmp_path, monkeypatch, step):
    path = tmp_path / "state"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(Unavailable, match=os.strerror(errno.ENOSPC)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize(("write", "move"), [(write_atomic, "replace"), (write_new, "link")])
def test_the_content_is_durable_before_the_name_and_the_name_before_the_return(
    tmp_path, monkeypatch, write, move
):
    events = []
    fsync, moved = os.fsync, getattr(os, move)

    def watched_fsync(descriptor):
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content"
        if kind == "content":
            assert os.fstat(descriptor).st_size == 3
        events.append(kind)
        fsync(descriptor)

    def watched_move(*args, **kwargs):
        events.append("name")
        moved(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, move, watched_move)
    write(tmp_path / "state", b"new")
    assert events == ["content", "name", "directory"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_on_the_way_leaves_the_old_state(tmp_path, moment):
    path = tmp_path / "state"
    write_atomic(path, b"old")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from trustspace.storage.files import write_atomic\n"
        f"os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    assert sweep_temporary(tmp_path) == 0  # young: another process may still be at it
    assert sweep_temporary(tmp_path, older_than_seconds=-5) == 1
    assert os.listdir(tmp_path) == ["state"]


def test_only_leftovers_are_swept(tmp_path):
    for name in ("state", ".hidden", "x.tmp-1", ".tmp-dead"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    assert sweep_temporary(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [".hidden", "state", "x.tmp-1"]


def test_a_new_file_never_replaces_one(tmp_path):
    path = tmp_path / "state"
    write_new(path, b"first")
    with pytest.raises(AlreadyExists, match="state"):
        write_new(path, b"second")
    assert path.read_bytes() == b"first"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AlreadyExists):
        write_new(tmp_path / "link", b"second")
    assert sorted(os.listdir(tmp_path)) == ["link", "state"]


def test_of_many_writers_of_a_new_file_one_wins(tmp_path):
    wins, start = [], threading.Barrier(8)

    def write(number):
        start.wait()
        try:
            write_new(tmp_path / "state", b"%d" % number)
            wins.append(b"%d" % number)
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "state").read_bytes()] == wins
    assert os.listdir(tmp_path) == ["state"]


def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "state").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "state", b"new")
    assert not (tmp_path / "state").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"untouched"


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_a_missing_directory_is_an_error_that_can_be_shown(tmp_path, write):
    with pytest.raises(Unavailable, match="state could not be written"):
        write(tmp_path / "missing" / "state", b"x")


def test_fsync_dir_needs_a_directory(tmp_path):
    fsync_dir(tmp_path)
    (tmp_path / "state").write_bytes(b"x")
    with pytest.raises(NotADirectoryError):
        fsync_dir(tmp_path / "state")


def test_the_temporary_file_is_never_readable_by_others(tmp_path, monkeypatch):
    seen = []
    opened = os.open

    def watched(path, flags, mode=0o777, **more):
        descriptor = opened(path, flags, mode, **more)
        if files._TEMPORARY in str(path):
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    with umask(0):
        write_atomic(tmp_path / "state", b"x", 0o644)
    assert seen == [0o600]
