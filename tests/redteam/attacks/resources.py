"""Using up the host: the limits are the kernel's, on the whole tree of a job, and nothing of it outlives its end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace

from redteam.arena import Arena, JobEnd
from redteam.model import JOBS, Attack, Seen, both, job_attack, job_files

_TREE = both(
    "a limit on processes and threads of the job's own user namespace, and on its cgroup",
    "沙箱用户命名空间与 cgroup 限制进程和线程数",
)
_MEMORY = both(
    "the cgroup counts every kind of memory and ends the job; without one, limits of each process and no memory files",
    "cgroup 统计各类内存，超限即终止任务；没有 cgroup 时按进程限制，并禁用内存文件",
)
_SIZED = both(
    "scratch folders in memory of a fixed size, counted as the job's",
    "临时目录位于限定大小的内存中，并计入任务",
)
_OUTPUT = both(
    "output memory that is sealed against growth before the job starts",
    "输出内存在任务开始前即封住，不能变大",
)
_CLOCK = both(
    "a clock outside the sandbox, and the whole tree killed at once", "沙箱外计时，到时整棵进程树一并终止"
)
_TIGHT = {"memory_mib": 256}


def _stays(what: str, name: str, title: dict[str, str]) -> Attack:
    """A job that does not end by itself: without defences only the suite's own clock ends it.

    On a busy host it may be ended before it began, which shows nothing: then it is given longer.
    """
    arguments, files = {"what": what}, job_files("resources_stay.py")

    def settled(run: Callable[..., JobEnd]) -> JobEnd:
        end = run(files, arguments=arguments, limits={"wall_seconds": 2})
        return (
            end if "here to stay" in end.log else run(files, arguments=arguments, limits={"wall_seconds": 30})
        )

    def without(arena: Arena) -> Seen:
        end = settled(arena.bare)
        stays = end.status == "timed_out" and "here to stay" in end.log
        return Seen(stays, "nothing ended it but this suite")

    def within(arena: Arena) -> Seen:
        end = settled(arena.inside)
        stays = end.status != "timed_out" or end.survivors > 0
        return Seen(stays, f"ended: {end.reason}, {end.survivors} processes left")

    wants = both("to hold a place, and a processor, for ever", "永久占住名额与处理器")
    return Attack(name, "resources", title, wants, _CLOCK, without, within)


def _daemon_files() -> dict[str, str]:
    return {
        **job_files("resources_daemon.py"),
        "resources_output.py": (JOBS / "resources_output.py").read_text(encoding="utf-8"),
    }


def _daemon_without(arena: Arena) -> Seen:
    end = arena.bare(_daemon_files())
    return Seen(end.survivors > 0, f"{end.survivors} process goes on writing after the job's end")


def _daemon_within(arena: Arena) -> Seen:
    end = arena.inside(_daemon_files())
    return Seen(end.survivors > 0, f"{end.survivors} processes left, output sealed: {end.status}")


def _log_without(arena: Arena) -> Seen:
    end = arena.bare(job_files("resources_print.py"))
    return Seen(len(end.log) >= 1 << 20, "all of 32 MiB kept")


def _log_within(arena: Arena) -> Seen:
    end = arena.inside(job_files("resources_print.py"))
    return Seen(len(end.log) >= 1 << 20, f"{len(end.log) >> 10} KiB kept, the job never waits")


def _crash_without(arena: Arena) -> Seen:
    """A service that runs a job's code in its own process."""
    source = (JOBS / "resources_crash.py").read_text(encoding="utf-8")
    done = subprocess.run(
        arena.python("import sys; exec(sys.argv[1]); run(None, None); print('still serving')", source),
        capture_output=True, check=False, cwd="/", env=arena.environment(), **arena.identity.drop(),
    )  # fmt: skip
    return Seen(done.returncode < 0 and not done.stdout, "the service is gone")


def _crash_within(arena: Arena) -> Seen:
    end = arena.inside(job_files("resources_crash.py"))
    return Seen(not arena.launcher.alive, f"the job alone ended: {end.reason}")


ATTACKS = [
    job_attack(
        "resources/fork-bomb",
        title=both("Starts processes without end", "无限创建进程"),
        wants=both("the host's table of processes", "占满宿主机进程表"),
        defence=_TREE, source="resources_breed.py", arguments={"what": "processes"},
    ),
    job_attack(
        "resources/thread-bomb",
        title=both("Starts threads without end", "无限创建线程"),
        wants=both("the host's table of processes", "占满宿主机进程表"),
        defence=_TREE, source="resources_breed.py", arguments={"what": "threads"},
    ),
    job_attack(
        "resources/heap",
        title=both("Takes 600 MiB of heap where 256 are allowed", "限 256 MiB 时占用 600 MiB 堆内存"),
        wants=both("the host's memory", "耗尽宿主机内存"),
        defence=_MEMORY, source="resources_memory.py", arguments={"what": "private"}, limits=_TIGHT,
    ),
    job_attack(
        "resources/shared-memory",
        title=both("Takes 600 MiB of shared memory", "占用 600 MiB 共享内存"),
        wants=both("the host's memory", "耗尽宿主机内存"),
        defence=_MEMORY, source="resources_memory.py", arguments={"what": "shared"}, limits=_TIGHT,
    ),
    job_attack(
        "resources/memory-files",
        title=both("Takes 600 MiB in memory files", "用内存文件占用 600 MiB"),
        wants=both("memory that limits of each process do not count", "占用按进程限额统计不到的内存"),
        defence=_MEMORY, source="resources_memory.py", arguments={"what": "memfd"}, limits=_TIGHT,
    ),
    job_attack(
        "resources/tmp",
        title=both("Fills /tmp", "写满 /tmp"),
        wants=both("the host's disk", "耗尽宿主机磁盘"),
        defence=_SIZED, source="resources_fill.py", arguments={"folder": "/tmp"},
    ),
    job_attack(
        "resources/dev-shm",
        title=both("Fills /dev/shm", "写满 /dev/shm"),
        wants=both("the host's memory", "耗尽宿主机内存"),
        defence=_SIZED, source="resources_fill.py", arguments={"folder": "/dev/shm"},
        cannot={
            f"{full} MiB written": both("the host's own /dev/shm is as small", "宿主机的 /dev/shm 同样很小")
            for full in (63, 64)
        },
    ),
    job_attack(
        "resources/output-bomb",
        title=both("Writes 64 MiB where 4 are allowed", "在限 4 MiB 的输出中写 64 MiB"),
        wants=both("the memory of whoever takes the output", "耗尽接收方内存"),
        defence=_OUTPUT, source="resources_output.py", arguments={"what": "bytes"},
    ),
    job_attack(
        "resources/sparse-output",
        title=both("Makes the output a hole of a terabyte", "把输出变成 1 TB 的空洞文件"),
        wants=both("whoever copies it to run out of memory", "使复制者耗尽内存"),
        defence=_OUTPUT, source="resources_output.py", arguments={"what": "hole"},
    ),
    Attack(
        "resources/log-bomb", "resources",
        both("Prints 32 MiB", "打印 32 MiB"),
        both("the disk and the patience of whoever keeps the log", "耗尽日志保存者的磁盘"),
        both("the log is cut at 256 KiB, what follows is read and dropped", "日志只留 256 KiB，其余读出即弃"),
        _log_without, _log_within,
    ),
    _stays("burning", "resources/never-ending", both("Never ends, deaf to signals", "永不结束且不理会信号")),
    _stays("stopped", "resources/stopped", both("Stops itself with SIGSTOP", "用 SIGSTOP 让自己停住")),
    Attack(
        "resources/daemon", "resources",
        both("Leaves a daemon that keeps writing", "留下继续写入的守护进程"),
        both("to change the output after it was judged", "在检查之后更改输出"),
        both("the pid namespace dies as a whole; then the output is sealed, then read",
             "整个 pid 命名空间一并终止；先封存输出，再读取"),
        _daemon_without, _daemon_within,
    ),
    job_attack(
        "resources/descriptors",
        title=both("Opens thousands of descriptors", "打开数千个描述符"),
        wants=both("the host's table of open files", "占满宿主机打开文件表"),
        defence=both("a limit of 256, which cannot be raised", "上限 256，不能调高"),
        source="resources_descriptors.py",
    ),
    job_attack(
        "resources/arguments",
        title=both("Runs a program with 4 MB of arguments", "以 4 MB 参数运行程序"),
        wants=both("kernel memory", "占用内核内存"),
        defence=both("no program can be started in a sandbox, and the limit of the stack bounds arguments",
                     "沙箱内不能启动程序，栈上限也限制参数"),
        source="resources_argv.py", arguments=lambda arena: {"python": str(arena.runtime.python)},
    ),
    Attack(
        "resources/stack", "resources",
        both("Overflows the interpreter's stack", "使解释器栈溢出"),
        both("to take the service down with it", "连带使服务崩溃"),
        both("jobs run in processes of their own, the launcher holds no job code", "任务在独立进程中运行"),
        _crash_without, _crash_within,
    ),
]  # fmt: skip

# Left to the slow tests: others of their kind, which stand behind the same defence, are quick.
_SLOWER = {
    "heap",
    "shared-memory",
    "dev-shm",
    "sparse-output",
    "log-bomb",
    "stopped",
    "descriptors",
    "thread-bomb",
    "arguments",
}
ATTACKS = [replace(attack, quick=attack.name.partition("/")[2] not in _SLOWER) for attack in ATTACKS]
