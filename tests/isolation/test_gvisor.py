"""Sandboxes under gVisor: the same tasks and sessions, a kernel of its own, and nothing left behind."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.sandboxes import bench
from test_lifecycle import (  # noqa: F401 - run again here, with this module's sandbox
    alive,
    descendants,
    test_a_survivor_is_dead_before_the_output_is_read,
    test_an_empty_input_and_no_output,
    test_an_input_cannot_be_changed_from_inside,
    test_bytes_in_and_out,
    test_the_output_memory_cannot_grow,
    test_too_large_an_output,
    wait_until,
)
from test_session_walls import (  # noqa: F401 - likewise
    test_a_session_holds_its_channel_and_nothing_else,
)
from test_sessions import (  # noqa: F401 - likewise
    LIMITS,
    PATIENCE,
    channel,
    talking,
    test_a_session_has_its_inputs_as_a_task_does,
    test_messages_and_memory_go_both_ways,
    test_the_channel_counts_beside_the_memory_of_a_session,
)

from trustspace.errors import CannotIsolate
from trustspace.sandbox import doctor, gvisor
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation


@pytest.fixture(scope="module")
def able():
    """Skips where gVisor is not installed, or cannot run."""
    report = doctor.probe(SandboxConfig(backend="gvisor"))
    if report.tier is None:
        pytest.skip(f"no gVisor here: {report.reasons('en')}")


@pytest.fixture(scope="module")
def sandbox(able, programs):
    with bench(programs, backend="gvisor") as one:
        yield one


@pytest.fixture
def breakable(able, own_sandbox):
    """A launcher that the test may break."""
    return own_sandbox(backend="gvisor")


def bundles():
    return set(Path(tempfile.gettempdir()).glob(f"{gvisor.PREFIX}*"))


def bundles_of(launcher):
    return [path for path in bundles() if path.name.startswith(f"{gvisor.PREFIX}{launcher.pid}-")]


def status_of(pid):
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_the_tier_and_the_version_are_said(sandbox):
    assert sandbox.launcher.tier == "gvisor"
    assert sandbox.launcher.details["backend"] == "gvisor"
    assert sandbox.launcher.details["gvisor"] not in ("", "none")
    assert sandbox.launcher.details["landlock"] == "none"


def test_a_job_meets_another_kernel_and_another_host(sandbox):
    outside, inside = sandbox.without("where"), sandbox.finding("where")
    assert outside["host"] == platform.node()
    assert (inside["host"], inside["uid"], inside["pid"], inside["cwd"]) == ("sandbox", 65534, 1, "/tmp")
    assert inside["environment"] == sorted(
        ["HOME", "LANG", "LOGNAME", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "PYTHONHASHSEED", "TMPDIR", "TZ"]
    )


def test_files_of_the_host_are_not_there(sandbox, canary_file):
    paths = [str(canary_file), "/etc/passwd", "/proc/version", "/proc/1/environ"]
    outside = sandbox.without("read_files", paths=paths)
    assert outside[str(canary_file)] == outside["/etc/passwd"] == "worked"
    inside = sandbox.finding("read_files", paths=paths)
    assert inside[str(canary_file)] == inside["/etc/passwd"] == "ENOENT"
    # Its own, of its own kernel.
    assert inside["/proc/version"] == "worked"


def test_only_its_own_processes_are_in_sight(sandbox):
    word = "canary-of-the-host"
    process = subprocess.Popen(["sleep", "60"], env={"CANARY": word})
    try:
        inside = sandbox.finding("find_canary", reversed=word[::-1])
    finally:
        process.kill()
        process.wait()
    assert inside == {"found": [], "pids": 1, "alive": 1}


def test_no_network_of_any_kind(sandbox):
    inside = sandbox.finding("families")
    assert sandbox.without("families")["inet"] == "worked"
    assert set(inside.values()) == {"EAFNOSUPPORT"}


def test_the_orders_socket_of_runsc_cannot_be_reached_from_the_host(sandbox):
    """Runsc listens on an abstract socket; in the host's network everyone could connect to it."""

    def abstract():
        text = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
        return {line.split()[-1] for line in text.splitlines() if "@runsc" in line or "@\0runsc" in line}

    before = abstract()
    with talking(sandbox, "never_end") as (conversation, _):
        conversation.ask({}, PATIENCE)
        inner = [pid for pid in descendants(sandbox.launcher.pid) if abstract_in(pid)]
        assert inner, "the control: it listens in its own network"
        assert abstract() <= before
        conversation.cancel()


def abstract_in(pid):
    """The abstract sockets named after runsc in that process's network."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if "runsc" in line]
    return []


def test_what_faces_the_job_is_behind_a_filter_of_its_own(sandbox):
    """Of runsc's processes only the two that wait, and have nothing to do with the job, are without one."""
    with talking(sandbox, "never_end") as (conversation, _):
        conversation.ask({}, PATIENCE)
        family = {}
        for pid in descendants(sandbox.launcher.pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                family[pid] = (command, status_of(pid))
        boot = [status for command, status in family.values() if "runsc-sandbox" in command]
        gofer = [status for command, status in family.values() if "runsc-gofer" in command]
        assert len(boot) == len(gofer) == 1
        assert {status["Seccomp"] for status in (*boot, *gofer)} == {"2"}
        assert all(status["Uid"].split()[0] != "0" for _, status in family.values())
        conversation.cancel()


def test_what_is_opened_anew_stays_read_only(sandbox):
    """There is a /proc inside, so a descriptor can be opened anew; it stays what the enclave made it."""
    with channel(content=b"original") as made:
        task = Task("reopening:session", {}, LIMITS)
        with sandbox.launcher.open(task, made) as conversation:
            found = conversation.ask({}, PATIENCE)
        assert found["descriptors"] > 0, "the control: there is one to open"
        assert (found["written"], found["mapped"]) == (0, 0)
        assert os.pread(made.down, 8, 0) == b"original"


@pytest.mark.parametrize("what", ["sandbox", "launcher"])
def test_killed_from_outside_nothing_lives_on(breakable, what):
    """The first of runsc's processes, or the launcher: all others die with it, and the bundle is removed."""
    launcher = breakable.launcher
    before = bundles()
    with talking(breakable, "never_end") as (conversation, _):
        conversation.ask({}, PATIENCE)
        family = descendants(launcher.pid)
        assert len(family) >= 4
        first = min(pid for pid in family if status_of(pid)["PPid"] == str(launcher.pid))
        os.kill(launcher.pid if what == "launcher" else first, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in family))
        if what == "sandbox":
            with conversation.close() as result:
                assert (result.status, result.reason) == ("killed", "signal")
            wait_until(lambda: bundles_of(launcher) == [])
        else:
            assert bundles() - before, "nobody is left to remove it"
    breakable.launcher.close()
    # As whoever starts the next launcher: it belongs to the sandbox's user.
    for path in bundles_of(launcher):
        uid = path.stat().st_uid
        code = "from trustspace.sandbox.gvisor import remove_abandoned; remove_abandoned()"
        subprocess.run(
            ["setpriv", f"--reuid={uid}", "--clear-groups", sys.executable, "-c", code]
            if os.geteuid() == 0 else [sys.executable, "-c", code],
            check=True, env={"PYTHONPATH": str(Path(gvisor.__file__).parents[2])},
        )  # fmt: skip
    assert bundles_of(launcher) == []


@pytest.mark.slow
def test_its_limits_are_kept(sandbox):
    small = Limits(wall_seconds=2, output_bytes=1 * MIB)
    with sandbox.run("sleep_for_ever", small) as result:
        assert (result.status, result.reason) == ("timed_out", "wall-clock")
    burning = Limits(wall_seconds=60, cpu_seconds=1, output_bytes=1 * MIB)
    with sandbox.run("burn", burning) as result:
        assert (result.status, result.reason) == ("killed", "cpu-time")


@pytest.mark.slow
def test_torch_is_imported_and_gives_the_same_as_in_namespaces(sandbox, own_sandbox):
    limits = Limits(wall_seconds=240, cpu_seconds=240, output_bytes=1 * MIB)
    with sandbox.run("libraries", limits) as here, own_sandbox().run("libraries", limits) as there:
        assert here.status == there.status == "finished", here.log.decode()
        assert here.read_output(1 * MIB) == there.read_output(1 * MIB)


def test_without_a_control_group_it_is_refused(able):
    report = doctor.probe(SandboxConfig(backend="gvisor", cgroups=False))
    assert report.tier is None
    assert [each.name for each in report.findings if each.blocks] == ["gvisor-uncounted"]


def test_a_host_without_runsc_is_refused(monkeypatch, programs):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotIsolate, match="gvisor"):
        Launcher.start(SandboxConfig(backend="gvisor", test_programs=programs), allow_threads=True)
