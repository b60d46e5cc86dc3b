"""Sandboxes without namespaces (``sandbox = "landlock"``): what stops a job there, and what it still sees."""

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from support.sandboxes import SMALL
from test_lifecycle import alive, descendants, wait_until
from test_sessions import PATIENCE, talking

from trustspace.errors import CannotIsolate, Unavailable
from trustspace.jobs.container import unpack
from trustspace.sandbox import confined as confined_module
from trustspace.sandbox import memory
from trustspace.sandbox.config import DEDICATED_USER, MIB, Limits, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import find_runtime

pytestmark = pytest.mark.isolation
x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is written for x86-64")


@pytest.fixture
def alone(confined):
    """The programs for this kind of sandbox."""
    return confined.of("alone")


@pytest.fixture
def neighbour():
    """A process of the same user that lets itself be read: its number, and where the word "patient" is."""
    code = (
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)\n"
        "held = ctypes.create_string_buffer(b'patient')\n"
        "print(ctypes.addressof(held), flush=True)\n"
        "time.sleep(600)\n"
    )
    victim = subprocess.Popen(
        [find_runtime().python, "-I", "-S", "-c", code], env={}, cwd="/", stdout=subprocess.PIPE,
        **sandbox_identity(DEDICATED_USER).drop(),
    )  # fmt: skip
    try:
        yield {"pid": victim.pid, "address": int(victim.stdout.readline())}
    finally:
        victim.kill()
        victim.communicate()


@pytest.fixture
def own_folder():
    """A directory on a disk that belongs to the sandbox's user."""
    folder = tempfile.mkdtemp(prefix="trustspace-own-")
    identity = sandbox_identity(DEDICATED_USER)
    os.chown(folder, identity.uid, identity.gid)
    yield Path(folder)
    shutil.rmtree(folder)


def own_file(folder):
    path = folder / "file"
    path.write_bytes(b"original")
    identity = sandbox_identity(DEDICATED_USER)
    os.chown(path, identity.uid, identity.gid)
    return str(path)


def long_task(launcher):
    parameters = memory.sealed("parameters", b'{"seconds": 600}')
    try:
        return launcher.submit(Task("attacks:when", {"parameters": parameters}))
    finally:
        os.close(parameters)


def test_what_it_says_of_itself(confined):
    assert confined.launcher.tier == "landlock+seccomp"
    details = confined.launcher.details
    assert (details["backend"], details["bubblewrap"]) == ("landlock", "none")
    assert int(details["landlock"]) >= 1


# -- what still works


def test_the_libraries_work_and_give_the_same_bytes(confined, sandbox):
    limits = Limits(wall_seconds=120, output_bytes=1 * MIB)
    with confined.run("libraries", limits) as here, sandbox.run("libraries", limits) as there:
        assert here.status == "finished", here.log.decode()
        assert here.read_output(1 * MIB) == there.read_output(1 * MIB)


def test_a_session_talks(confined):
    with talking(confined, "echo", content=b"first") as (conversation, made):
        assert conversation.ask({"bytes": 5}, PATIENCE) == {"bytes": 5, "count": 1}
        assert os.pread(made.up, 5, 0) == b"tsrif"
        with conversation.close() as result:
            assert result.status == "finished"


def test_bytes_go_in_and_out(confined):
    data = bytes(range(256)) * 1000
    with confined.run("echo", data=data) as result:
        (artifact,) = unpack(result.read_output(1 * MIB), max_bytes=1 * MIB)
        assert artifact.data == data


def test_a_warm_one_is_walled_in_as_well(programs, confined):
    config = SandboxConfig(backend="landlock", warm=1, test_programs=programs)
    limits = Limits(wall_seconds=120, output_bytes=1 * MIB)
    with Launcher.start(config, allow_threads=True) as launcher:
        bench = type(confined)(launcher, programs)
        assert bench.finding("list_directories", limits, paths=["/", "/etc"]) == {
            "/": "EACCES",
            "/etc": "EACCES",
        }


# -- files


def test_nothing_of_the_host_can_be_read(confined, canary_file, neighbour):
    paths = ["/etc/passwd", "/etc/os-release", "/proc/meminfo", "/proc/self/environ", "/proc/self/mountinfo",
             f"/proc/{neighbour['pid']}/cmdline", str(canary_file), "/sys/kernel/mm/transparent_hugepage/enabled"]  # fmt: skip
    assert set(confined.without("read_files", paths=paths).values()) == {"worked"}
    inside = confined.finding("read_files", paths=paths)
    assert set(inside.values()) == {"EACCES"}, inside


def test_what_there_is_to_list_is_the_runtime_alone(confined):
    folders = ["/", "/home", "/etc", "/usr", "/usr/bin", "/proc", "/proc/self/fd", "/sys", "/dev", "/dev/shm", "/var",
               "/tmp", "/opt", str(find_runtime().path), str(find_runtime().path / "app")]  # fmt: skip
    assert {"/", "/etc", "/proc", "/opt"} <= {
        folder
        for folder, said in confined.without("list_directories", paths=folders).items()
        if said == "worked"
    }
    assert "worked" not in confined.finding("list_directories", paths=folders).values()
    assert confined.finding("list_directories", paths=[str(find_runtime().path / "site-packages")]) == {
        str(find_runtime().path / "site-packages"): "worked"
    }


def test_nothing_can_be_written_anywhere(confined, own_folder):
    folders = [str(own_folder), "/tmp", "/dev/shm", "/var/tmp", "/run", str(find_runtime().path)]
    outside = confined.without("write_everywhere", folders=folders)
    assert outside[str(own_folder)] == outside["/tmp"] == outside["/dev/shm"] == "worked"
    assert "worked" not in confined.finding("write_everywhere", folders=folders).values()


def test_a_file_of_the_same_user_stays_as_it_is(alone, own_folder):
    outside = alone.without("change_a_file", path=own_file(own_folder))
    assert set(outside.values()) == {"worked"}, outside
    for left in own_folder.iterdir():
        left.rmdir() if left.is_dir() else left.unlink()
    path = own_file(own_folder)
    before = os.stat(path)
    inside = alone.finding("change_a_file", path=path)
    assert "worked" not in inside.values(), inside
    after = os.stat(path)
    assert (before.st_mode, before.st_mtime_ns, before.st_nlink) == (
        after.st_mode,
        after.st_mtime_ns,
        after.st_nlink,
    )
    assert [entry.name for entry in own_folder.iterdir()] == ["file"]
    assert Path(path).read_bytes() == b"original"


def test_an_old_landlock_s_filter_refuses_to_empty_files_and_runs_the_libraries(
    own_sandbox, monkeypatch, own_folder
):
    """Before its third version Landlock has no right for truncation, and the filter stands in for it."""
    monkeypatch.setattr(confined_module, "TRUNCATION_CLOSED_FROM", 1000)
    old = own_sandbox(backend="landlock")
    with old.run("libraries", Limits(wall_seconds=120, output_bytes=1 * MIB)) as result:
        assert result.status == "finished", result.log.decode()
    # The filter comes before Landlock, and says so by its own error.
    path = own_file(own_folder)
    assert old.of("alone").finding("change_a_file", path=path)["empty"] == "EPERM"
    assert Path(path).read_bytes() == b"original"


# -- other processes


@x86_64_only
def test_a_neighbour_cannot_be_touched_through_its_number(alone, neighbour):
    outside = alone.without("touch_a_neighbour", **neighbour)
    assert set(outside.values()) == {"worked"}, outside
    inside = alone.finding("touch_a_neighbour", **neighbour)
    assert set(inside.values()) <= {"EPERM", "EACCES"}, inside
    # A number that nobody has gets the same answer: it cannot be found out who is there.
    nobody = alone.finding("touch_a_neighbour", pid=2**22 - 7, address=neighbour["address"])
    files = {"environment", "command line"}
    assert {name: said for name, said in inside.items() if name not in files} == {
        name: said for name, said in nobody.items() if name not in files
    }


def test_there_is_one_process_for_good(alone, confined):
    assert set(alone.without("more_processes").values()) == {"worked"}
    assert set(alone.finding("more_processes").values()) == {"EPERM"}
    # Threads are no processes; with a control group they are counted as ever.
    if confined.launcher.details["memory"].startswith("cgroup"):
        limits = Limits(wall_seconds=60, memory_bytes=512 * MIB, output_bytes=1 * MIB, processes=16)
        assert confined.without("start_threads", wanted=100) == 100
        assert 4 < confined.finding("start_threads", limits, wanted=100) <= 16


def test_it_cannot_outlive_the_launcher(programs, alone):
    if platform.machine() == "x86_64":
        assert alone.without("outlive") == "worked"
        assert alone.finding("outlive") == "EPERM"
    with Launcher.start(
        SandboxConfig(backend="landlock", test_programs=programs), allow_threads=True
    ) as launcher:
        running = long_task(launcher)
        wait_until(lambda: descendants(launcher.pid))
        family = descendants(launcher.pid)
        os.kill(launcher.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in family))
        with pytest.raises(Unavailable):
            running.result(10)


def test_nobody_of_its_user_may_look_into_it(programs, neighbour):
    """Not dumpable: /proc shows it as root's, and a process of its own user is refused."""
    if os.geteuid() != 0:
        pytest.skip("only root sees both sides of this")
    with Launcher.start(
        SandboxConfig(backend="landlock", test_programs=programs), allow_threads=True
    ) as launcher:
        running = long_task(launcher)
        try:
            wait_until(lambda: any(_settled(pid) for pid in descendants(launcher.pid)))
            (worker,) = descendants(launcher.pid)
            look = "import sys; open(f'/proc/{sys.argv[1]}/environ', 'rb').read(1)"
            said = {
                pid: subprocess.run(
                    [find_runtime().python, "-I", "-S", "-c", look, str(pid)], env={}, cwd="/", capture_output=True,
                    check=False, **sandbox_identity(DEDICATED_USER).drop(),
                ).returncode
                for pid in (neighbour["pid"], worker)
            }  # fmt: skip
            assert said[neighbour["pid"]] == 0, "the control can be read"
            assert said[worker] != 0
        finally:
            running.cancel()
            running.result(10).close()


def _settled(pid):
    """Whether a filter is loaded: the last of its walls."""
    with contextlib.suppress(OSError):
        return "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()
    return False


# -- the network, and sockets that need none


def test_no_socket_of_any_family(confined):
    assert confined.without("families")["inet"] == "worked"
    assert set(confined.finding("families").values()) == {"EAFNOSUPPORT"}


def test_no_socket_of_the_host_hears_a_word(alone, own_folder):
    """Half of a datagram pair can be pointed at any socket in sight: one with a path, one without."""
    path, name = str(own_folder / "socket"), f"trustspace-test-{os.getpid()}"
    addresses = {"path": path, "abstract": f"@{name}"}
    with contextlib.ExitStack() as stack:
        ears = []
        for address in (path, b"\0" + name.encode()):
            ear = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            ear.bind(address)
            ear.setblocking(False)
            ears.append(ear)
        os.chmod(path, 0o777)
        assert set(alone.without("write_to_sockets", addresses=addresses).values()) == {"worked"}
        assert [ear.recv(100) for ear in ears] == [b"patient", b"patient"]
        assert set(alone.finding("write_to_sockets", addresses=addresses).values()) == {"EPERM"}
        for ear in ears:
            with pytest.raises(BlockingIOError):
                ear.recv(100)


@x86_64_only
def test_dangerous_calls_are_refused(alone, confined):
    assert confined.without("namespaces_by_clone")["clone"] == "worked"
    assert confined.finding("namespaces_by_clone") == {"clone": "EPERM", "clone3": "ENOSYS"}
    with alone.run("forbidden_entry") as result:
        assert (result.status, result.reason) == ("killed", "forbidden-call")


# -- limits and ends


@pytest.mark.parametrize(("kind", "at_most"), [("private", 256), ("shared", 0), ("memfd", 0), ("zero", 0)])
def test_bombs_of_memory_without_control_groups(own_sandbox, confined, kind, at_most):
    bare = own_sandbox(backend="landlock", cgroups=False)
    assert bare.launcher.details["memory"] == "limits of each process"
    assert bare.without("take_memory", kind=kind, mib=400) == 400
    assert bare.finding("take_memory", kind=kind, mib=400) <= at_most


def test_bombs_of_memory_with_control_groups(confined):
    if not confined.launcher.details["memory"].startswith("cgroup"):
        pytest.skip("no cgroup can be had here")
    with confined.run("take_memory", kind="private", mib=400) as result:
        assert (result.status, result.reason, result.output) == ("killed", "memory", None)


def test_limits_cannot_be_changed(confined):
    outside = confined.without("raise_limits")
    assert {outside[name] for name in ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE")} == {"worked"}
    assert "worked" not in confined.finding("raise_limits").values()


def test_only_the_descriptors_that_are_meant(confined):
    forgotten = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(forgotten, True)
    try:
        inside = confined.finding("descriptors", data=b"d")
    finally:
        os.close(forgotten)
    # Input device, log twice, output, and the two inputs' mappings.
    assert sorted(inside.values()) == ["device", "file", "file", "file", "pipe", "pipe"], inside


@pytest.mark.parametrize(
    ("way", "status", "reason"),
    [
        ("exception", "failed", "exit-status"), ("quiet exit", "failed", "exit-status"),
        ("segfault", "killed", "signal"), ("abort", "killed", "signal"), ("kill", "failed", "exit-status"),
    ],
)  # fmt: skip
def test_a_crash_is_a_result(confined, way, status, reason):
    with confined.run("end_badly", way=way) as result:
        assert (result.status, result.reason, result.output) == (status, reason, None)


def test_time_is_limited(confined):
    with confined.run("burn", Limits(wall_seconds=60, cpu_seconds=1, output_bytes=1 * MIB)) as result:
        assert (result.status, result.reason) == ("killed", "cpu-time")
    with confined.run("when", Limits(wall_seconds=1, output_bytes=1 * MIB), seconds=600) as result:
        assert (result.status, result.reason, result.output) == ("timed_out", "wall-clock", None)
    assert descendants(confined.launcher.pid) == set()


def test_tasks_of_one_user_run_side_by_side_and_have_their_threads(own_sandbox, confined):
    """RLIMIT_NPROC counts them together where no control group counts each: one must not starve the other."""
    bare = own_sandbox(backend="landlock", cgroups=False, concurrent=3)
    limits = Limits(wall_seconds=60, memory_bytes=512 * MIB, output_bytes=1 * MIB, processes=12)
    found = []

    def one():
        found.append(bare.finding("start_threads", limits, wanted=10))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [10, 10, 10]
    # And still there is an end.
    assert bare.without("start_threads", wanted=400) == 400
    assert bare.finding("start_threads", limits, wanted=400) < 100


# -- what is weaker than with namespaces


def test_what_it_still_sees_of_the_host(alone, sandbox, canary_file):
    """Written down in docs/sandbox.md: names, numbers, and that a path is there; not what is in it."""
    seen = alone.finding("still_sees", path=str(canary_file))
    assert seen["host"] == platform.node()
    assert seen["uid"] == sandbox_identity(DEDICATED_USER).uid
    assert (seen["size"], seen["there"]) == (canary_file.stat().st_size, [True, False])
    assert seen["read"] == "EACCES"
    with sandbox.of("alone").run("still_sees", SMALL, path=str(canary_file)) as result:
        assert result.status == "failed"
        assert b"FileNotFoundError" in result.log


# -- hosts


DOCKER = (
    "import ctypes, sys, pyseccomp as s\n"
    "rules = s.SyscallFilter(s.ALLOW)\n"
    "for call in ('clone', 'unshare'):\n"
    "    rules.add_rule(s.ERRNO(1), call, s.Arg(0, s.MASKED_EQ, 0x10000000, 0x10000000))\n"
    "rules.add_rule(s.ERRNO(38), 'clone3')\n"
    "rules.load()\n"
    "from pathlib import Path\n"
    "from trustspace.sandbox.config import Limits, SandboxConfig\n"
    "from trustspace.sandbox.launcher import Launcher, Task\n"
    "config = SandboxConfig(backend=sys.argv[1], cgroups=False, test_programs=Path(sys.argv[2]))\n"
    "with Launcher.start(config, allow_threads=True) as launcher:\n"
    "    with launcher.run(Task('attacks:libraries', {}, Limits(wall_seconds=120))) as result:\n"
    "        print(launcher.tier, result.status)\n"
)


def test_a_host_without_namespaces_isolates_this_way_alone(confined, programs):
    """The filter that a default Docker puts around a container, and no control groups."""
    here, there = (
        subprocess.run(
            [sys.executable, "-c", DOCKER, backend, str(programs)],
            capture_output=True,
            text=True,
            check=False,
        )
        for backend in ("landlock", "namespaces")
    )
    assert here.stdout.strip() == "landlock+seccomp finished", here.stderr
    assert there.stdout == ""
    assert "CannotIsolate: This host cannot isolate" in there.stderr


DOCTOR = DOCKER.split("from pathlib")[0] + (
    "from trustspace.cli.main import main\n"
    "sys.argv = ['trustspace', '--home', sys.argv[1], 'doctor']\n"
    "main()\n"
)


def test_the_doctor_says_there_which_line_to_write_and_believes_it(confined, tmp_path):
    def ask():
        return subprocess.run(
            [sys.executable, "-c", DOCTOR, str(tmp_path)], capture_output=True, text=True, check=False,
            env={**os.environ, "TRUSTSPACE_LANG": "en", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    before = ask()
    assert before.returncode == 14, before.stderr
    line = 'sandbox = "landlock"'
    assert f"put `{line}` into enclave.toml" in before.stdout
    (tmp_path / "enclave.toml").write_text(f"{line}\n")
    after = ask()
    assert (after.returncode, after.stderr) == (0, "")
    assert "An enclave can run here as it is set." in after.stdout
    (tmp_path / "enclave.toml").write_text(f'{line}\nminimum_tier = "namespaces+seccomp"\n')
    demanding = ask()
    assert demanding.returncode == 14
    assert "asks for more" in demanding.stdout


def test_without_landlock_it_is_refused():
    with pytest.raises(CannotIsolate, match="Landlock"):
        Launcher.start(SandboxConfig(backend="landlock", landlock=False), allow_threads=True)


def test_a_stronger_tier_is_not_met(confined):
    config = SandboxConfig(backend="landlock", minimum_tier="namespaces+seccomp")
    with pytest.raises(CannotIsolate, match="demanded"):
        Launcher.start(config, allow_threads=True)
