"""What is arranged with the host: control groups on a made-up tree, limits, mounts, Landlock."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from trustspace.errors import CannotIsolate
from trustspace.sandbox import bubblewrap, cgroup, identity, landlock, layout, limits
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.runtime import Runtime

# -- control groups


def tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def membership(tmp_path):
    path = tmp_path / "self-cgroup"
    path.write_text("4:memory:/own\n8:pids:/\n0::/service\n")
    return path


def test_version_1_lies_below_our_own_group(tmp_path, membership, monkeypatch):
    root = tmp_path / "cgroup"
    tree(root, {"memory/cgroup.procs": "", "memory/own/cgroup.procs": "", "pids/cgroup.procs": ""})
    given = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((Path(path), uid, gid)))
    base = cgroup.prepare(1234, 1235, root=root, process=membership)
    assert base.version == 1
    assert Path(base.memory).parent == root / "memory" / "own"
    assert Path(base.pids).parent == root / "pids"
    assert {(uid, gid) for _, uid, gid in given} == {(1234, 1235)}
    assert {Path(base.memory), Path(base.pids)} <= {path for path, _, _ in given}


def test_version_2_needs_both_controllers(tmp_path, membership, monkeypatch):
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    root = tmp_path / "cgroup"
    own = {
        "service/cgroup.procs": "77\n",
        "service/cgroup.subtree_control": "",
        "cgroup.controllers": "hugetlb",
    }
    tree(root, {**own, "service/cgroup.controllers": "hugetlb"})
    assert cgroup.prepare(1, 1, root=root, process=membership) is None
    tree(root, {**own, "service/cgroup.controllers": "cpu memory pids"})
    # The made-up file takes what is written; the kernel's reads back without the signs.
    tree(root, {"service/cgroup.subtree_control": "memory pids"})
    monkeypatch.setattr(Path, "write_text", lambda self, text: len(text))
    base = cgroup.prepare(1, 1, root=root, process=membership)
    assert base.version == 2
    assert Path(base.memory).parent == root / "service"
    assert base.folders == (Path(base.memory),)


def test_without_any_hierarchy_there_is_none(tmp_path, membership):
    assert cgroup.prepare(1, 1, root=tmp_path / "nothing", process=membership) is None


def test_a_base_survives_its_message():
    for base in (
        cgroup.Base(1, "/a", "/b"),
        cgroup.Base(1, "/a", "/b", "/c"),
        cgroup.Base(2, "/a", "/a", "/a"),
    ):
        assert cgroup.Base.from_message(base.to_message()) == base


def test_version_2_asks_for_processors_and_does_without(tmp_path, membership, monkeypatch):
    monkeypatch.setattr(os, "chown", lambda *_: None)
    controllers = {
        "service/cgroup.procs": "77\n",
        "cgroup.controllers": "",
        "service/cgroup.controllers": "cpu memory pids",
    }
    for name, given, expected in (("with", "cpu memory pids", True), ("without", "memory pids", False)):
        root = tmp_path / name
        tree(root, {**controllers, "service/cgroup.subtree_control": ""})
        real = Path.write_text

        # A kernel's file says all that was ever asked for and could be given.
        def write(path, text, *arguments, given=given, real=real, **more):
            if path.name == "cgroup.subtree_control":
                text = given if set(text.replace("+", "").split()) <= set(given.split()) else path.read_text()
            return real(path, text, *arguments, **more)

        monkeypatch.setattr(Path, "write_text", write)
        base = cgroup.prepare(1, 1, root=root, process=membership)
        monkeypatch.setattr(Path, "write_text", real)
        assert bool(base.cpu) == expected


def test_a_group_limits_processors_where_there_is_a_controller(tmp_path):
    base = cgroup.Base(1, str(tmp_path / "m"), str(tmp_path / "p"), str(tmp_path / "c"))
    for folder in base.folders:
        folder.mkdir()
    group = cgroup.Group(base, "task-1")
    group.limit(Limits(), processors=3)
    assert (tmp_path / "c/task-1/cpu.cfs_quota_us").read_text() == "300000"
    assert (tmp_path / "c/task-1/cpu.cfs_period_us").read_text() == "100000"
    base = cgroup.Base(2, str(tmp_path / "g"), str(tmp_path / "g"), str(tmp_path / "g"))
    (tmp_path / "g").mkdir()
    group = cgroup.Group(base, "task-1")
    (tmp_path / "g/task-1/memory.current").write_text("0")
    group.limit(Limits(), processors=2)
    assert (tmp_path / "g/task-1/cpu.max").read_text() == "200000 100000"
    group.limit(Limits())
    assert (tmp_path / "g/task-1/cpu.max").read_text() == "200000 100000"


def test_a_group_sets_limits_and_reads_what_happened(tmp_path, monkeypatch):
    base = cgroup.Base(1, str(tmp_path / "m"), str(tmp_path / "p"))
    for folder in base.folders:
        folder.mkdir()
    group = cgroup.Group(base, "task-1")
    group.limit(Limits(memory_bytes=100 * MIB, processes=7))
    memory = tmp_path / "m" / "task-1"
    assert (memory / "memory.limit_in_bytes").read_text() == str(100 * MIB)
    assert (tmp_path / "p" / "task-1" / "pids.max").read_text() == "9"
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    assert not group.out_of_memory()
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert group.out_of_memory()
    (memory / "memory.max_usage_in_bytes").write_text("4096\n")
    assert group.peak_bytes() == 4096


def test_a_group_that_cannot_be_limited_is_not_used(tmp_path):
    base = cgroup.Base(1, str(tmp_path / "m"), str(tmp_path / "missing"))
    (tmp_path / "m").mkdir()
    with pytest.raises(OSError):
        cgroup.Group(base, "task-1")
    assert list((tmp_path / "m").iterdir()) == []


def test_directories_of_killed_enclaves_are_removed(tmp_path):
    for name in ("trustspace-999999999-aa", f"trustspace-{os.getpid()}-bb", "other"):
        (tmp_path / name).mkdir()
    cgroup._remove_abandoned(
        cgroup.Base(2, str(tmp_path / "trustspace-1-me"), str(tmp_path / "trustspace-1-me"))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", f"trustspace-{os.getpid()}-bb"]


# -- limits


def test_core_dumps_are_limited_to_one_byte_not_to_none():
    """With 0, a pipe as core pattern would still get everything (core(5))."""
    assert limits.before_exec()[resource.RLIMIT_CORE] == (1, 1)


def test_memory_is_limited_by_process_only_where_nothing_counts_it():
    data = str(resource.RLIMIT_DATA)
    assert data not in limits.in_worker(Limits(), scratch_bytes=0, counted=True)
    alone = limits.in_worker(Limits(memory_bytes=100 * MIB), scratch_bytes=0, counted=False)
    assert alone[data] == 100 * MIB


def test_what_a_warm_worker_used_before_its_task_is_not_the_task_s():
    code = (
        "import resource, time\n"
        "from trustspace.sandbox.limits import apply_in_worker\n"
        "while time.process_time() < 1.5: pass\n"
        "apply_in_worker({}, 3)\n"
        "print(*resource.getrlimit(resource.RLIMIT_CPU))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    soft, hard = map(int, done.stdout.split())
    assert soft >= 5
    assert hard == soft + 1


def test_a_group_that_holds_more_than_a_task_may_use_does_not_take_it(tmp_path):
    base = cgroup.Base(2, str(tmp_path / "g"), str(tmp_path / "g"))
    (tmp_path / "g").mkdir()
    group = cgroup.Group(base, "task-1")
    (tmp_path / "g/task-1/memory.current").write_text(str(300 * MIB))
    with pytest.raises(OSError):
        group.limit(Limits(memory_bytes=200 * MIB))
    assert not (tmp_path / "g/task-1/memory.max").exists()
    group.limit(Limits(memory_bytes=400 * MIB))
    assert (tmp_path / "g/task-1/memory.max").read_text() == str(400 * MIB)


def test_a_limit_never_goes_above_one_that_is_there():
    code = (
        "import resource; from trustspace.sandbox.limits import apply\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "apply({resource.RLIMIT_NOFILE: (256, 256), resource.RLIMIT_CORE: (1, 1)})\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)[0] <= 1)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "(20, 20) True\n"


# -- mounts


@pytest.fixture
def plan(tmp_path):
    runtime = Runtime(Path("/opt/runtime"), "python/bin/python3.11", "3.11.2", "00", shared_library=False)
    return bubblewrap.plan(SandboxConfig(), runtime, tmp_path / "app")


def test_the_walls_are_all_ordered(plan):
    options = bubblewrap.options(plan, seccomp=7, status=8, copies={})
    for wall in (
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--new-session",
        "--die-with-parent",
        "--clearenv",
    ):
        assert wall in options
    assert options[options.index("--cap-drop") + 1] == "ALL"
    assert options[options.index("--seccomp") + 1] == "7"
    for hole in (
        "--share-net",
        "--bind",
        "--proc",
        "--dev",
        "--cap-add",
        "--bind-try",
        "--mqueue",
        "--userns",
    ):
        assert hole not in options


def test_nothing_of_the_host_but_libraries_runtime_and_three_devices_is_mounted(plan):
    options = bubblewrap.options(plan, seccomp=7, status=8, copies={})
    shown = {options[at + 1] for at, option in enumerate(options) if option in ("--ro-bind", "--dev-bind")}
    devices = {f"/dev/{name}" for name in layout.DEVICES}
    libraries = {path for path in shown if path.startswith(("/usr/lib", "/lib"))}
    assert shown == {"/opt/runtime", str(plan.app)} | devices | libraries
    assert "/usr" not in shown


def test_every_writable_place_has_a_size_and_the_root_is_closed_last(plan):
    options = bubblewrap.options(plan, seccomp=7, status=8, copies={"/proc/cpuinfo": 9})
    for place in ("/tmp", "/dev/shm"):
        at = next(at for at, option in enumerate(options) if option == place and options[at - 1] == "--tmpfs")
        assert options[at - 3] == "--size"
        assert int(options[at - 2]) == 64 * MIB
    root_closed = options.index("/", options.index("--remount-ro"))
    assert options[root_closed - 1] == "--remount-ro"
    assert not {"--tmpfs", "--ro-bind", "--dev-bind", "--file"} & set(options[root_closed:])


def test_the_worker_s_environment_is_fixed(plan, monkeypatch):
    monkeypatch.setenv("TRUSTSPACE_CANARY", "x")
    environment = bubblewrap.environment(plan)
    assert set(environment) == {"HOME", "TMPDIR", "LOGNAME", "LANG", "TZ", "PYTHONHASHSEED", "OMP_NUM_THREADS",
                                "MALLOC_ARENA_MAX"}  # fmt: skip


def test_programs_of_tests_are_mounted_only_when_configured(plan):
    assert layout.TESTS not in bubblewrap.options(plan, seccomp=7, status=8, copies={})
    assert layout.TESTS not in bubblewrap.worker_command(plan, 3, "{}")


# -- identity


def test_as_root_there_must_be_another_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(CannotIsolate, match="no-such-user"):
        identity.sandbox_identity("no-such-user")
    with pytest.raises(CannotIsolate, match="is root"):
        identity.sandbox_identity("root")


def test_as_an_ordinary_user_it_is_ourselves(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not identity.sandbox_identity("whoever").dedicated
    assert identity.sandbox_identity("whoever").drop() == {}


# -- Landlock


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_landlock_leaves_only_what_is_named(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "open" / "file").write_text("x")
    (tmp_path / "closed").write_text("x")
    code = (
        "import os, sys; from trustspace.sandbox import landlock\n"
        "root = sys.argv[1]\n"
        "def attempt(action):\n"
        "    try: action()\n"
        "    except OSError as error: return type(error).__name__\n"
        "    return 'worked'\n"
        "def everything():\n"
        "    return [attempt(lambda: open(root + '/open/file').read()),\n"
        "            attempt(lambda: open(root + '/closed').read()),\n"
        "            attempt(lambda: open(root + '/open/file', 'a').write('y')),\n"
        "            attempt(lambda: open(root + '/scratch/new', 'w').write('y')),\n"
        "            attempt(lambda: os.mkfifo(root + '/scratch/pipe' + str(len(os.listdir(root + '/scratch')))))]\n"
        "print(everything())\n"
        "landlock.restrict([root + '/open', '/does-not-exist'], [root + '/scratch'])\n"
        "print(everything())\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if attempt(lambda: os.execv('/bin/true', ['true'])) == 'PermissionError' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    before, after, execution = said.stdout.splitlines()
    assert before == str(["worked"] * 5)
    assert after == str(["worked", "PermissionError", "PermissionError", "worked", "PermissionError"])
    assert execution == "0"
