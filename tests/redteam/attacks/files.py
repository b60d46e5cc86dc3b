"""Files of the host and of later runs: the runtime is read-only, scratch space dies with the run, the rest is not there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from redteam.arena import Arena, patients
from redteam.model import JOBS, KIT, Attack, CannotShow, Seen, both, job_attack, job_files
from trustspace.data.handin import to_memfd
from trustspace.enclave import home as enclave_home

_RUNTIME = both("the runtime and the package's copy are mounted read-only", "运行环境与程序副本只读挂载")
_ROOT = both("an almost empty root: the host's files are not there", "根目录近乎为空，宿主机文件不在其中")
_PRIVATE = both("a home in memory that is each run's own", "每次运行各有内存中的私有主目录")
_SEALED = both(
    "data comes in as sealed memory, mapped read-only, its descriptor closed",
    "数据以封存内存只读传入，描述符已关闭",
)


def own_folder(arena: Arena, name: str) -> Path:
    """A folder on the host that belongs to the user whom jobs run as, as a naive service gives its workers one."""

    def plant(stack: contextlib.ExitStack) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"trustspace-redteam-{name}-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        give(arena, folder)
        folder.chmod(0o755)
        return folder

    folder: Path = arena.bait(f"folder {name}", plant)
    return folder


def give(arena: Arena, *paths: Path) -> None:
    """Let these belong to the user whom jobs run as."""
    if arena.identity.dedicated:
        for path in paths:
            os.chown(path, arena.identity.uid, arena.identity.gid)


def enclave_folder(arena: Arena) -> Path:
    """A real enclave's home with a dataset in it, owned by the user whom jobs run as: the worst case."""

    def plant(stack: contextlib.ExitStack) -> Path:
        folder = own_folder(arena, "enclave") / "home"
        enclave_home.initialise(folder, "Bait", "127.0.0.1:0", ())
        (folder / "datasets" / "bait.sealed").write_text(arena.secret, encoding="ascii")
        (folder / "keys" / "bait").write_text(arena.secret, encoding="ascii")
        give(arena, folder, *folder.rglob("*"))
        return folder

    folder: Path = arena.bait("enclave home", plant)
    return folder


def _poison(what: str) -> Any:
    return lambda arena: {"what": what, "folder": str(own_folder(arena, f"poison-{what}"))}


def _public_file(arena: Arena) -> str:
    def plant(stack: contextlib.ExitStack) -> Path:
        path = own_folder(arena, "public") / "letter.txt"
        path.write_text(arena.secret, encoding="ascii")
        give(arena, path)
        path.chmod(0o644)
        return path

    return str(arena.bait("public file", plant))


# -- a home that several runs share


def _home_without(arena: Arena) -> Seen:
    home = {"home": str(own_folder(arena, "shared-home"))}
    arena.bare(job_files("files_home.py"), arguments=home)
    finding = arena.bare(job_files("files_home.py"), arguments=home).finding or {}
    return Seen(bool(finding.get("worked")), str(finding.get("detail")))


def _home_within(arena: Arena) -> Seen:
    # Another one than the control's, whose files can be seen from a tier without namespaces.
    home = {"home": str(own_folder(arena, "shared-home-within"))}
    arena.inside(job_files("files_home.py"), arguments=home)
    finding = arena.inside(job_files("files_home.py"), arguments=home).finding or {}
    return Seen(bool(finding.get("worked")), str(finding.get("detail")))


# -- the data that came in


def _input(way: str) -> Attack:
    """The control hands the same table over as memory that is not sealed, by the descriptor it was made with."""
    titles = {
        "mapping": both("Makes its input's pages writable", "把输入所在内存页改为可写"),
        "memory": both("Writes to its input through /proc/self/mem", "经 /proc/self/mem 改写输入"),
        "reopened": both("Opens its input anew for writing", "以写方式重新打开输入"),
        "growth": both("Makes its input longer", "让输入变长"),
    }

    def without(arena: Arena) -> Seen:
        with contextlib.ExitStack() as stack:
            sealed = to_memfd(patients(), "data")
            stack.callback(os.close, sealed)
            length = os.fstat(sealed).st_size
            content = os.pread(sealed, length, 0)
            shared = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
            stack.callback(os.close, shared)
            os.write(shared, content)
            os.fchmod(shared, 0o666)
            source = (
                "import sys, mmap, os, ctypes, json; exec(sys.argv[1], m := {'__name__': 'kit'})\n"
                "import types; kit = types.ModuleType('kit'); kit.__dict__.update(m); sys.modules['kit'] = kit\n"
                "exec(sys.argv[2], job := {})\n"
                "fd, length = int(sys.argv[4]), int(sys.argv[5])\n"
                "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
                "kind = 2 if sys.argv[3] == 'memory' else 1\n"
                "address = libc.mmap(None, ctypes.c_size_t(length), 1, kind, fd, ctypes.c_long(0))\n"
                "print(json.dumps(job['attempt'](sys.argv[3], address, length)))\n"
            )
            done = subprocess.run(
                arena.python(source, KIT.read_text("utf-8"), (JOBS / "files_input.py").read_text("utf-8"), way,
                             str(shared), str(length)),
                pass_fds=(shared,), capture_output=True, check=False, cwd="/", env=arena.environment(),
                **arena.identity.drop(),
            )  # fmt: skip
            changed = os.pread(shared, length + 1, 0) != content
        said = json.loads(done.stdout) if done.stdout else done.stderr.decode()[-100:]
        if way == "memory":
            # A private mapping: changed for whoever reads it in the same process, the evidence for one.
            if said == "EIO":
                raise CannotShow("this kernel lets no process write past its own protections",
                                 "此内核不允许进程越过自身的内存保护写入")  # fmt: skip
            return Seen(not said, said or "changed, although mapped read-only")
        return Seen(changed, said or "changed for everybody who has it mapped")

    def within(arena: Arena) -> Seen:
        sealed = to_memfd(patients(), "data")
        length, seals = os.fstat(sealed).st_size, fcntl.fcntl(sealed, fcntl.F_GET_SEALS)
        os.close(sealed)
        end = arena.inside(job_files("files_input.py"), arguments={"way": way, "length": length})
        finding = end.finding or {"worked": False, "detail": end.reason}
        return Seen(bool(finding["worked"]) or not seals, str(finding["detail"]))

    wants = both("to change what a later reader, or the evidence, sees", "改变后续读者或证据所见的数据")
    return Attack(f"files/input-{way}", "files", titles[way], wants, _SEALED, without, within)


# -- devices


def _device_without(arena: Arena) -> Seen:
    """A service that runs jobs as root, as many containers do."""
    if os.geteuid() != 0:
        raise CannotShow(
            "only root can make device nodes, even without defences",
            "即使没有防护，也只有 root 能创建设备节点",
        )
    path = Path(tempfile.mkdtemp(prefix="trustspace-redteam-")) / "device"
    source = (
        "import os, stat, sys; os.mknod(sys.argv[1], 0o600 | stat.S_IFCHR, os.makedev(1, 9)); "
        "print(len(open(sys.argv[1], 'rb').read(8)))"
    )
    try:
        done = subprocess.run(arena.python(source, str(path)), capture_output=True, check=False)
    finally:
        shutil.rmtree(path.parent)
    return Seen(done.stdout.strip() == b"8", "run as root: a device of its own, read")


def _device_within(arena: Arena) -> Seen:
    finding = arena.inside(job_files("files_device.py")).finding or {}
    return Seen(bool(finding.get("worked")), str(finding.get("detail")))


def _read(
    name: str, way: str, title: dict[str, str], paths: Any, wants: dict[str, str], *, loot: bool
) -> Attack:
    return job_attack(
        f"files/{name}", title=title, wants=wants, defence=_ROOT, source="files_read.py", loot=loot,
        arguments=lambda arena: {"way": way, "paths": paths(arena)},
    )  # fmt: skip


ATTACKS = [
    job_attack(
        "files/poisoned-libraries",
        title=both("Leaves modules, .pth and sitecustomize in libraries", "在库中留下模块、.pth 与 sitecustomize"),
        wants=both("code of its own in every later run", "在以后每次运行中执行自己的代码"),
        defence=_RUNTIME, source="files_poison.py", arguments=_poison("libraries"),
    ),
    job_attack(
        "files/poisoned-bytecode",
        title=both("Leaves compiled modules in __pycache__", "在 __pycache__ 中留下字节码"),
        wants=both("code of its own behind honest sources", "在诚实源码背后执行自己的代码"),
        defence=_RUNTIME, source="files_poison.py", arguments=_poison("bytecode"),
    ),
    job_attack(
        "files/poisoned-caches",
        title=both("Leaves kernels and hub code in torch's caches", "在 torch 缓存中留下代码"),
        wants=both("code of its own in later runs", "在以后运行中执行自己的代码"),
        defence=_RUNTIME, source="files_poison.py", arguments=_poison("caches"),
    ),
    Attack(
        "files/poisoned-home", "files",
        both("Leaves start files in HOME and comes again", "在 HOME 留下启动文件后再次运行"),
        both("code of its own in later runs", "在以后运行中执行自己的代码"),
        _PRIVATE, _home_without, _home_within,
    ),
    _read(
        "host-files", "straight", both("Reads the host's user list, release and a public file", "读取宿主机用户表等公开文件"),
        lambda arena: f"/etc/passwd|/etc/os-release|/proc/meminfo|/proc/mounts|{_public_file(arena)}",
        both("whatever everybody on the host may read", "宿主机上人人可读的内容"), loot=True,
    ),
    _read(
        "enclave-data", "straight", both("Reads sealed datasets in the enclave's home", "读取盲盒主目录中的密封数据"),
        lambda arena: str(enclave_folder(arena) / "datasets" / "bait.sealed"),
        both("data of other jobs, to keep for the day a key is found", "其他任务的数据，待日后解密"), loot=True,
    ),
    _read(
        "symlink", "symlink", both("Reads a host file through a symbolic link", "经符号链接读取宿主机文件"),
        _public_file, both("a way around checks of paths", "绕过路径检查"), loot=True,
    ),
    _read(
        "hard-link", "hard link", both("Reads a file of its own user through a hard link", "经硬链接读取同用户文件"),
        lambda arena: str(enclave_folder(arena) / "datasets" / "bait.sealed"),
        both("a way around checks of paths and of links", "绕过路径与链接检查"), loot=True,
    ),
    _read(
        "detour", "detour", both("Reads a host file by way of /proc/self/root and ..", "经 /proc/self/root 与 .. 读取"),
        _public_file, both("the root that its own root hides", "被自身根目录遮住的真实根目录"), loot=True,
    ),
    Attack(
        "files/device-nodes", "files",
        both("Makes a device node", "创建设备节点"),
        both("the disk below all file systems", "绕过文件系统直读磁盘"),
        both("never root, no capabilities, no such system call", "从不以 root 运行，无特权，无此系统调用"),
        _device_without, _device_within,
    ),
    _input("mapping"), _input("memory"), _input("reopened"), _input("growth"),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {
    "poisoned-libraries",
    "poisoned-caches",
    "enclave-data",
    "symlink",
    "detour",
    "input-memory",
    "input-growth",
    "input-reopened",
    "poisoned-home",
    "hard-link",
}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
