"""Keys and plain text in memory: workers never hold a key, and whoever does is out of their reach."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from redteam.arena import Arena, patients
from redteam.attacks.files import enclave_folder, own_folder
from redteam.model import JOBS, Attack, CannotShow, Seen, both, job_attack, job_files, seen_in
from trustspace.crypto.seal import Opener, iter_opened, seal_bytes, take_header
from trustspace.data.handin import from_fd, to_memfd
from trustspace.domain.binding import dataset_context
from trustspace.sandbox import doctor, memory
from trustspace.sandbox.launcher import Launcher

_APART = both("keys stay in the enclave; launcher and workers are other processes, which never had them",
              "密钥只在盲盒中；启动器与工作进程是从未持有密钥的另外进程")  # fmt: skip
_UNSEEN = both(
    "no process outside of the sandbox can be seen or reached from it", "沙箱内看不到也触不及外部进程"
)
_KEY = both("a key that opens datasets", "能打开数据的密钥")


@contextlib.contextmanager
def service(arena: Arena, folder: Path, *, openly: bool) -> Iterator[tuple[int, str]]:
    """An ordinary service of the user whom jobs run as, with a key in its memory: its process and the key.

    ``openly``: the key came in its environment, as it does in many.
    """
    key = secrets.token_hex(16)
    source = (
        "import resource, sys\n"
        "_, most = resource.getrlimit(resource.RLIMIT_CORE); resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "key = sys.stdin.readline().strip()\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        arena.python(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        env=arena.environment(**({"DATA_KEY": key} if openly else {})), **arena.identity.drop(),
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(key + "\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process.pid, key
    finally:
        process.kill()
        process.communicate()


def _search(name: str, what: str, title: dict[str, str], quick: bool = True) -> Attack:
    def without(arena: Arena) -> Seen:
        folder = own_folder(arena, f"service-{what}")
        if what == "core":
            _require_core_dumps()
        with service(arena, folder, openly=what == "arguments") as (pid, key):
            arguments = {"what": what, "pids": str(pid), "reversed": key[::-1]}
            return seen_in(arena.bare(job_files("keys_search.py"), arguments=arguments))

    def within(arena: Arena) -> Seen:
        """After the launcher, after the enclave's own process, and after such a service."""
        folder = own_folder(arena, f"service-{what}")
        with service(arena, folder, openly=what == "arguments") as (pid, key):
            pids = f"{pid} {arena.launcher.pid} {os.getpid()}"
            arguments = {"what": what, "pids": pids, "reversed": key[::-1]}
            seen = seen_in(arena.inside(job_files("keys_search.py"), arguments=arguments))
            os.kill(pid, 0)
            assert arena.launcher.alive
        return seen

    return Attack(name, "keys", title, _KEY, _UNSEEN, without, within, quick)


def _require_core_dumps() -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8")[:1] in "|/":
        raise CannotShow("core dumps of this host go elsewhere", "此主机的核心转储另有去处")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        raise CannotShow("core dumps are switched off for us", "核心转储已对我们关闭")


# -- what is left of the launcher


def _launcher_core_without(arena: Arena) -> Seen:
    """The same crash of an ordinary service, by its own user."""
    _require_core_dumps()
    folder = own_folder(arena, "launcher-core")
    with service(arena, folder, openly=False) as (pid, key):
        os.kill(pid, signal.SIGABRT)
        while Path(f"/proc/{pid}/maps").exists() and Path(f"/proc/{pid}/maps").read_bytes():
            os.sched_yield()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        found = [path for path in folder.glob("core*") if key.encode() in path.read_bytes()]
        for path in folder.glob("core*"):
            path.unlink()
    return Seen(bool(found), "the whole memory of the service in a file")


def _launcher_core_within(arena: Arena) -> Seen:
    """A launcher of our own, crashed from outside, where a job cannot reach; with the limits that it has."""
    before = set(Path("/").glob("core*"))
    with Launcher.start(arena.config, allow_threads=True) as launcher:
        # /proc shows a process that may not be dumped as root's own (proc(5)).
        open_to_user = (
            arena.identity.dedicated and os.stat(f"/proc/{launcher.pid}/mem").st_uid == arena.identity.uid
        )
        os.kill(launcher.pid, signal.SIGABRT)
        code = launcher._process.wait(10)
    written = set(Path("/").glob("core*")) - before
    return Seen(bool(written) or open_to_user, f"ended by signal {-code}, nothing was written")


def _launcher_facts_without(arena: Arena) -> Seen:
    with service(arena, own_folder(arena, "facts"), openly=True) as (pid, key):
        return Seen(key in _told(pid), "the key is in its environment")


def _told(pid: int) -> str:
    """What the host itself shows of a process: to root all, to its own user what may be dumped."""
    told = ""
    for name in ("environ", "cmdline", "comm"):
        with contextlib.suppress(PermissionError):
            told += Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    return told


def _launcher_facts_within(arena: Arena) -> Seen:
    """Root looks: what is not there nobody reads."""
    told = _told(arena.launcher.pid)
    return Seen(arena.secret in told, f"{len(told)} characters, none of them of the enclave's environment")


# -- the worker's own memory


def _scan_arguments(key: bytes) -> dict[str, str]:
    masked = bytes(byte ^ 0x5A for byte in key)
    here = bytes(byte ^ 0x5A for byte in secrets.token_bytes(32))
    return {"masked": masked.hex(), "here": here.hex()}


def _scan_without(_: Arena) -> Seen:
    """A worker that opens the data itself, as most do, and then runs the job."""
    key = secrets.token_bytes(32)
    source = (
        "import json, sys\n"
        "from trustspace.crypto.seal import open_bytes\n"
        "given = sys.stdin.buffer.read()\n"
        "rows = open_bytes(given[:32], {'purpose': 'store'}, given[32:])\n"
        "class Given:\n"
        "    arguments = json.loads(sys.argv[2])\n"
        "class Said:\n"
        "    def json(self, name, value): print(json.dumps(value))\n"
        "exec(sys.argv[1], job := {}); job['run'](Given(), Said())\n"
    )
    job = (JOBS / "keys_scan.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", source, job, json.dumps(_scan_arguments(key))],
        input=key + seal_bytes(key, {"purpose": "store"}, b"rows"), capture_output=True, check=False,
    )  # fmt: skip
    said = (
        json.loads(done.stdout) if done.stdout else {"worked": False, "detail": done.stderr[-100:].decode()}
    )
    return Seen(bool(said["worked"]), said["detail"])


def _scan_within(arena: Arena) -> Seen:
    """This process opens, as an enclave does, and hands the rows to a sandbox."""
    key, context = secrets.token_bytes(32), dataset_context("a" * 64, "ward-a", 1)
    plain = to_memfd(patients(), "data")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, plain)
        sealed = Path(own_folder(arena, "sealed")) / "ward-a"
        sealed.write_bytes(seal_bytes(key, context, memory.read(plain, 1 << 20)))
        opened = memory.create("dataset")
        stack.callback(os.close, opened)
        with sealed.open("rb") as file:
            opener = Opener(key, take_header(file.read), context)
            for piece in iter_opened(opener, file.read):
                os.write(opened, piece)
        memory.seal(opened)
        rows = from_fd(opened)
        end = arena.inside(job_files("keys_scan.py"), rows=rows, arguments=_scan_arguments(key))
    return seen_in(end) if end.finding else Seen(False, end.log[-100:])


# -- swap


def _swap_without(arena: Arena) -> Seen:
    if len(Path("/proc/swaps").read_text(encoding="utf-8").splitlines()) < 2:
        raise CannotShow("this host has no swap", "此主机没有交换空间")
    return seen_in(arena.bare(job_files("keys_swap.py")))


def _swap_within(arena: Arena) -> Seen:
    seen = seen_in(arena.inside(job_files("keys_swap.py")))
    warned = any("swap" in each.text["en"] for each in doctor.probe(arena.config).findings)
    return Seen(seen.worked, f"{seen.detail}; doctor {'warns of swap' if warned else 'says nothing'}")


ATTACKS = [
    _search("keys/memory-of-others", "memory",
            both("Searches launcher and enclave for a key", "在启动器与盲盒内存中搜寻密钥")),
    _search("keys/arguments-of-others", "arguments",
            both("Searches their arguments and environment", "在其参数与环境变量中搜寻密钥")),
    _search("keys/core-of-others", "core",
            both("Makes them crash and reads the core dump", "使其崩溃再读核心转储")),
    Attack("keys/launcher-core", "keys",
           both("Crashes the launcher from outside", "从外部使启动器崩溃"), _KEY,
           both("the launcher cannot be dumped, and holds no key", "启动器不可转储，也不持有密钥"),
           _launcher_core_without, _launcher_core_within, False),
    Attack("keys/launcher-environment", "keys",
           both("Looks for the enclave's secrets in the launcher", "在启动器中寻找盲盒的机密"), _KEY,
           both("started with an empty environment and a socket's number", "以空环境和一个套接字号启动"),
           _launcher_facts_without, _launcher_facts_within),
    Attack("keys/own-memory", "keys",
           both("Searches its own memory for the data key", "在自身内存中搜寻数据密钥"), _KEY,
           _APART, _scan_without, _scan_within),
    job_attack(
        "keys/key-files",
        title=both("Reads key files in the enclave's home", "读取盲盒主目录中的密钥文件"),
        wants=_KEY, defence=both("the enclave's home is not there", "盲盒主目录不在其中"),
        source="files_read.py", loot=True,
        arguments=lambda arena: {"way": "straight", "paths": str(enclave_folder(arena) / "keys" / "bait")},
    ),
    Attack("keys/swap", "keys",
           both("Has its memory written to swap, and waits", "让内存写入交换空间后等待"),
           both("rows on a disk, for whoever takes it", "数据落入磁盘"),
           both("the cgroup takes no swap; doctor warns where the host has some", "cgroup 不用交换空间，doctor 会警告"),
           _swap_without, _swap_within),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {"core-of-others", "arguments-of-others", "launcher-core", "own-memory"}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
