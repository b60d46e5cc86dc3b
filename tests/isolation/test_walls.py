"""Walls of a sandbox that the red team (tests/redteam) does not already try: each with the same thing outside."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from trustspace.domain.tiers import TIER_FULL
from trustspace.sandbox.config import MIB, Limits

pytestmark = pytest.mark.isolation


def test_host_files_cannot_be_read(sandbox, canary_file):
    paths = ["/etc/passwd", "/etc/os-release", "/proc/meminfo", "/proc/1/cmdline", str(canary_file)]
    assert set(sandbox.without("read_files", paths=paths).values()) == {"worked"}
    inside = sandbox.finding(
        "read_files", paths=[*paths, "/proc/self/environ", "/proc/self/mountinfo", "/dev/mem"]
    )
    assert "worked" not in inside.values(), inside


def test_what_there_is_to_read_is_the_runtime_alone(sandbox):
    folders = [
        "/",
        "/home",
        "/root",
        "/etc",
        "/usr",
        "/usr/bin",
        "/proc",
        "/sys",
        "/dev",
        "/runtime",
        "/app",
        "/var",
    ]
    inside = sandbox.finding("list_directories", paths=folders)
    readable = {folder for folder, said in inside.items() if said == "worked"}
    # /proc and /sys hold copies of a few CPU facts, /dev three devices.
    assert readable <= {"/proc", "/sys", "/dev", "/runtime", "/app"}


def test_landlock_closes_what_the_mounts_show(sandbox, own_sandbox):
    if sandbox.launcher.tier != TIER_FULL:
        pytest.skip("this kernel has no Landlock")
    without_landlock = own_sandbox(landlock=False)
    assert without_landlock.launcher.tier == "namespaces+seccomp"
    assert without_landlock.launcher.details["landlock"] == "none"
    assert without_landlock.finding("list_directories", paths=["/", "/usr"]) == {
        "/": "worked",
        "/usr": "worked",
    }
    assert sandbox.finding("list_directories", paths=["/", "/usr"]) == {"/": "EACCES", "/usr": "EACCES"}


def test_the_worker_is_nobody(sandbox):
    inside = sandbox.finding("where")
    assert inside["uid"] == inside["gid"] == 65534
    assert set(inside["groups"]) <= {65534}
    assert inside["host"] == "sandbox"
    assert inside["pid"] < 10
    assert not [path for path in inside["path"] if not path.startswith(("/runtime", "/app", "/tests"))]
    assert str(Path.home()) not in str(inside)


def test_only_scratch_space_can_be_written(sandbox):
    open_to_all = tempfile.mkdtemp(prefix="trustspace-open-")
    os.chmod(open_to_all, 0o777)
    try:
        folders = [open_to_all, "/tmp", "/dev/shm", "/", "/usr/lib", "/lib", "/etc", "/dev", "/proc", "/sys",
                   "/runtime", "/runtime/site-packages", "/runtime/app", "/app", "/app/trustspace", "/tests",
                   "/runtime/python/lib"]  # fmt: skip
        assert sandbox.without("write_everywhere", folders=folders)[open_to_all] == "worked"
        inside = sandbox.finding("write_everywhere", folders=folders)
    finally:
        shutil.rmtree(open_to_all)
    assert {folder for folder, said in inside.items() if said == "worked"} == {"/tmp", "/dev/shm"}


def test_scratch_space_is_small_and_private(sandbox, own_sandbox):
    assert sandbox.without("fill", folder="/dev/shm", bytes=96 * MIB) == 96 * MIB
    tight = own_sandbox(tmp_bytes=8 * MIB, shm_bytes=4 * MIB)
    assert tight.finding("fill", folder="/tmp", bytes=16 * MIB) == 8 * MIB
    assert tight.finding("fill", folder="/dev/shm", bytes=16 * MIB) == 4 * MIB


def test_only_the_descriptors_that_are_meant(sandbox):
    # A descriptor that the enclave forgets to close on exec must not arrive.
    forgotten = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(forgotten, True)
    try:
        inherited = subprocess.run(
            ["/bin/sh", "-c", f"test -e /proc/self/fd/{forgotten}"], close_fds=False, check=False
        )
        assert inherited.returncode == 0
        inside = sandbox.finding("descriptors", data=b"d")
    finally:
        os.close(forgotten)
    kinds = sorted(inside.values())
    # Input device, log twice, output, and the two inputs' mappings.
    assert kinds == ["device", "file", "file", "file", "pipe", "pipe"], inside


def test_bombs_of_processes_and_threads(sandbox):
    limits = Limits(wall_seconds=60, memory_bytes=512 * MIB, output_bytes=1 * MIB, processes=16)
    assert sandbox.without("fork_many", wanted=100) == 100
    assert sandbox.finding("fork_many", limits, wanted=100) <= 16
    assert sandbox.without("start_threads", wanted=100) == 100
    assert sandbox.finding("start_threads", limits, wanted=100) <= 16


@pytest.mark.parametrize("kind", ["private", "shared", "memfd"])
def test_bombs_of_memory(sandbox, kind):
    assert sandbox.without("take_memory", kind=kind, mib=400) == 400
    if sandbox.launcher.details["memory"].startswith("cgroup"):
        with sandbox.run("take_memory", kind=kind, mib=400) as result:
            assert (result.status, result.reason, result.output) == ("killed", "memory", None)
            assert result.peak_bytes <= 256 * MIB
    else:
        pytest.skip("no cgroup here; test_bombs_of_memory_without_cgroup covers the limits")


@pytest.mark.parametrize(("kind", "at_most"), [("private", 256), ("shared", 0), ("memfd", 0), ("zero", 0)])
def test_bombs_of_memory_without_cgroup(own_sandbox, kind, at_most):
    bare = own_sandbox(cgroups=False)
    assert bare.launcher.details["memory"] == "limits of each process"
    assert bare.finding("take_memory", kind=kind, mib=400) <= at_most
    assert bare.without("take_memory", kind=kind, mib=400) == 400
