"""gVisor's backend where it takes no runsc: what is chosen, what is written for it, what is left of it."""

import base64
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trustspace.sandbox import bubblewrap, gvisor, memory
from trustspace.sandbox.config import MIB
from trustspace.sandbox.gvisor import Gvisor, GvisorFacts, Tools
from trustspace.sandbox.runtime import Runtime

TOOLS = Tools("/usr/bin/runsc", "ptrace", "/usr/bin/unshare")
GOOD = GvisorFacts(TOOLS, "0.0~20221219.0", counted=True, trial_error=None)
PLAN = bubblewrap.Plan(
    Runtime(Path("/opt/runtime"), "python/bin/python3.11", "3.11.7", "0" * 64, shared_library=False),
    Path("/opt/runtime/app/one"), None, tmp_bytes=5 * MIB, shm_bytes=6 * MIB, threads=1,
)  # fmt: skip

# As Debian's build of 2022 and a newer one list it.
FLAGS_2022 = """  -platform string
    specifies which platform to use: ptrace (default), kvm. (default "ptrace")
  -platform_device_path string
"""
FLAGS_NEWER = """  -platform string
    specifies which platform to use: systrap (default), ptrace, kvm. (default "systrap")
"""


@pytest.mark.parametrize(
    ("flags", "platform"),
    [(FLAGS_2022, "ptrace"), (FLAGS_NEWER, "systrap"), ("", "ptrace"), ("  -other\n systrap", "ptrace")],
)
def test_systrap_is_taken_where_it_exists(flags, platform):
    assert gvisor.platform_of(flags) == platform


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("runsc version 0.0~20221219.0\nspec: 1.0.2-dev\n", "0.0~20221219.0"),
        ("runsc version release-20240807.0\n", "release-20240807.0"),
        ("no such thing", ""),
    ],
)
def test_builds_say_their_version_differently(said, version):
    assert gvisor.version_of(said) == version


def test_what_stands_in_the_way_the_first_thing_first():
    assert gvisor.problem(GOOD) is None
    uncounted = dataclasses.replace(GOOD, counted=False)
    assert gvisor.problem(uncounted) == ("gvisor-uncounted", "")
    failed = dataclasses.replace(uncounted, trial_error="no")
    assert gvisor.problem(failed) == ("gvisor-trial", "no")
    assert gvisor.problem(dataclasses.replace(failed, tools=None)) == ("gvisor-missing", "")


def test_a_container_has_what_every_sandbox_has_and_no_more():
    spec = gvisor.configuration(PLAN, ["python"], Path("/bundle/root"))
    process = spec["process"]
    assert set(process["env"]) == {f"{k}={v}" for k, v in bubblewrap.environment(PLAN).items()}
    assert process["noNewPrivileges"] is True
    assert {name: value for name, value in process["capabilities"].items() if value} == {}
    assert len(process["capabilities"]) == 5
    assert {"type": "RLIMIT_CORE", "soft": 1, "hard": 1} in process["rlimits"]
    assert spec["root"] == {"path": "/bundle/root", "readonly": True}
    mounts = {mount["destination"]: mount for mount in spec["mounts"]}
    shown = {place: mount["source"] for place, mount in mounts.items() if mount["type"] == "bind"}
    libraries = {folder: folder for folder in bubblewrap.library_folders()}
    assert shown == {"/runtime": "/opt/runtime", "/app": "/opt/runtime/app/one", **libraries}
    assert all("ro" in mounts[place]["options"] for place in shown)
    sized = {place: mounts[place]["options"][0] for place in mounts if place not in shown}
    assert sized == {
        "/runtime/app": "size=4096",
        "/tmp": f"size={5 * MIB}",
        "/dev/shm": f"size={6 * MIB}",
    }
    assert "ro" in mounts["/runtime/app"]["options"]


def test_test_programs_are_shown_only_when_configured():
    def destinations(made):
        return {mount["destination"] for mount in gvisor.configuration(made, [], Path("/r"))["mounts"]}

    with_tests = dataclasses.replace(PLAN, test_programs=Path("/programs"))
    assert destinations(with_tests) - destinations(PLAN) == {"/tests"}


def test_the_command_has_its_own_network_and_keeps_off_the_disks():
    command = gvisor.arguments(TOOLS, Path("/bundle"))
    before, after = command[: command.index("--")], command[command.index("--") + 1 :]
    assert before == ["/usr/bin/unshare", "--user", "--map-current-user", "--net", "--ipc", "--uts"]
    assert after[0] == "/usr/bin/runsc"
    assert {"--rootless", "--network=none", "--platform=ptrace", "--overlay2=none"} <= set(after)


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_sandbox_s_bundle_is_whole_and_readable_from_inside(bundles):
    program = memory.sealed("filter", b"12345678")
    try:
        backend = Gvisor({"gvisor": dataclasses.asdict(TOOLS)}, PLAN, program)
    finally:
        os.close(program)
    mask = os.umask(0o077)
    try:
        with contextlib.ExitStack() as keep:
            command = backend.command(5, 6, ("torch",), keep)
    finally:
        os.umask(mask)
    folder = command.leftover
    assert (command.stdin, command.descriptors, command.environment) == (5, (), {})
    assert folder.parent == bundles
    assert folder.stat().st_mode & 0o777 == 0o700
    spec = json.loads((folder / "config.json").read_text())
    assert spec["root"]["path"] == str(folder / "root")
    control, walls = spec["process"]["args"][-2:]
    assert control == "0"
    assert json.loads(walls) == {"preload": ["torch"], "filter": base64.b64encode(b"12345678").decode()}
    for mount in spec["mounts"]:
        place = folder / "root" / mount["destination"].lstrip("/")
        assert place.is_dir()
        assert place.stat().st_mode & 0o777 == 0o755


def test_nothing_is_left_of_a_bundle_that_cannot_be_made(bundles, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *_: (_ for _ in ()).throw(ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        gvisor.make_bundle(PLAN, [])
    assert list(bundles.iterdir()) == []


def test_what_a_killed_launcher_left_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = tmp_path / f"{gvisor.PREFIX}{ended.pid}-abc"
    kept = [tmp_path / f"{gvisor.PREFIX}{os.getpid()}-abc", tmp_path / "trustspace-other-1-x"]
    for folder in (abandoned, *kept):
        (folder / "state").mkdir(parents=True)
    gvisor.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
