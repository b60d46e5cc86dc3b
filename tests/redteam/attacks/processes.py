"""Getting at other processes, and getting more rights than a job has."""

from __future__ import annotations

import os
from pathlib import Path

from redteam import bait
from redteam.arena import Arena
from redteam.model import CannotShow, Text, both, job_attack
from trustspace.domain.tiers import TIER_GVISOR, TIER_WITHOUT_LANDLOCK

NO_CALL = both("not among the calls that a job may make", "不在任务可用的系统调用之列")
ALONE = both(
    "a pid namespace of its own, and the call is not allowed", "独立的进程命名空间，且不允许该系统调用"
)
NO_NESTING = both(
    "no new namespaces: by seccomp, and by --disable-userns", "禁止新建命名空间：seccomp 与 --disable-userns"
)
NO_USERNS = {"EPERM": both("this host forbids user namespaces", "本机禁止用户命名空间"),
             "ENOSPC": both("this host forbids user namespaces", "本机禁止用户命名空间")}  # fmt: skip
NO_TRACING = {
    "EPERM": both("this host lets nobody look into processes", "本机禁止查看其他进程"),
    "ENOSYS": both("this kernel is built without it", "内核未编入此功能"),
}
MEMORY = both("keys and patients in another process", "其他进程中的密钥与患者数据")
OWN_PROGRAMS = both(
    "Without Landlock its own programs can run, with the same walls around them: they can do no more than machine code"
    " that the job runs in its own process.",
    "没有 Landlock 时自带程序可以运行，但处于同样的防线之内，并不比任务进程内的机器码多任何能力。",
)
ROOT_OF_OWN = both(
    "to be root, if only of its own, next to kernel bugs", "先成为“自己的 root”，再利用内核漏洞"
)


def _aim(what: str, *, at: str = "address"):
    def given(arena: Arena) -> dict[str, str | int]:
        victim = bait.victim(arena)
        return {"what": what, "pid": victim.pid, "where": str(getattr(victim, at))}

    return given


def _harm(what: str):
    return lambda arena: {"what": what, "pid": bait.fresh_victim(arena, what).pid}


def _dead(arena: Arena) -> bool:
    return not arena.notes["kill"].answers()


def _forged(arena: Arena) -> bool:
    victim = arena.notes["write"]
    with open(f"/proc/{victim.pid}/mem", "rb", buffering=0) as file:
        file.seek(victim.address)
        return file.read(6) == b"forged"


def _write(arena: Arena) -> dict[str, str | int]:
    victim = bait.fresh_victim(arena, "write")
    return {"what": "write", "pid": victim.pid, "where": str(victim.address)}


def _limited(arena: Arena) -> bool:
    limits = Path(f"/proc/{arena.notes['limit'].pid}/limits").read_text(encoding="ascii").splitlines()
    return next(line for line in limits if line.startswith("Max file size")).split()[4] == "0"


def _setuid(arena: Arena) -> dict[str, str]:
    if os.geteuid() != 0 or os.statvfs(arena.folder).f_flag & os.ST_NOSUID:
        raise CannotShow("only root can make a setuid program, where its file system allows it",
                         "须由 root 在允许 setuid 的文件系统上制作该程序")  # fmt: skip
    return {"program": bait.setuid_program(arena)}


def _own_group(arena: Arena) -> dict[str, str]:
    if arena.launcher._base is None:
        raise CannotShow("this host gives the sandbox no cgroup", "本机未给沙箱 cgroup")
    return {"folder": arena.launcher._base.memory}


def _namespace(name: str, what: str, title: Text, wants: Text = ROOT_OF_OWN, **more):
    return job_attack(
        f"processes/{name}", title=title, wants=wants, defence=NO_NESTING, source="processes_namespace.py",
        arguments={"what": what}, cannot=NO_USERNS, **more,
    )  # fmt: skip


ATTACKS = [
    job_attack(
        "processes/ptrace",
        title=both("Stops another process and reads it (ptrace)", "用 ptrace 暂停并读取其他进程"),
        wants=MEMORY,
        defence=ALONE,
        source="processes_read.py",
        arguments=_aim("trace"),
        cannot=NO_TRACING,
        loot=True,
    ),
    job_attack(
        "processes/process-vm-readv",
        title=both("Copies another process's memory", "直接复制其他进程的内存"),
        wants=MEMORY,
        defence=ALONE,
        source="processes_read.py",
        arguments=_aim("read"),
        cannot=NO_TRACING,
        loot=True,
    ),
    job_attack(
        "processes/process-vm-writev",
        title=both("Changes another process's memory", "改写其他进程的内存"),
        wants=both("to let another process act for it", "让其他进程代其行事"),
        defence=ALONE,
        source="processes_read.py",
        arguments=_write,
        cannot=NO_TRACING,
        confirm=_forged,
        quick=False,
    ),
    job_attack(
        "processes/pidfd-getfd",
        title=both("Takes an open file out of another process", "从其他进程取走已打开的文件"),
        wants=both("data in memory files that have no name", "没有文件名的内存文件中的数据"),
        defence=ALONE,
        source="processes_read.py",
        arguments=_aim("steal", at="descriptor"),
        cannot=NO_TRACING,
        loot=True,
    ),
    job_attack(
        "processes/kcmp",
        title=both("Compares kernel objects with another's (kcmp)", "用 kcmp 与他人比较内核对象"),
        wants=both("the order of addresses in the kernel", "内核地址的先后"),
        defence=ALONE,
        source="processes_read.py",
        arguments=_aim("compare"),
        cannot=NO_TRACING,
        quick=False,
    ),
    job_attack(
        "processes/move-pages",
        title=both("Asks which pages of another are in memory", "查询他人哪些内存页在内存中"),
        wants=both("what another run has just touched", "得知其他运行刚访问了什么"),
        defence=ALONE,
        source="processes_read.py",
        arguments=_aim("pages"),
        cannot=NO_TRACING,
        quick=False,
    ),
    job_attack(
        "processes/kill",
        title=both("Kills another process of the same user", "杀死同一用户的其他进程"),
        wants=both("to end other domains' runs", "终止其他数据域的运行"),
        defence=both("a pid namespace of its own", "独立的进程命名空间"),
        source="processes_harm.py",
        arguments=_harm("kill"),
        confirm=_dead,
    ),
    job_attack(
        "processes/limit-others",
        title=both("Lowers another process's limits to nothing", "把其他进程的限额降为零"),
        wants=both("to make other runs fail", "令其他运行失败"),
        defence=both(
            "a pid namespace; limits may be set on oneself only", "进程命名空间；只能设置自己的限额"
        ),
        source="processes_harm.py",
        arguments=_harm("limit"),
        confirm=_limited,
        quick=False,
    ),
    job_attack(
        "processes/starve-others",
        title=both("Makes another process wait for all others", "让其他进程永远排在最后"),
        wants=both("to slow other runs, and to be seen in their time", "拖慢其他运行，借时长传递信号"),
        defence=ALONE,
        source="processes_harm.py",
        arguments=_harm("starve"),
        confirm=lambda arena: os.sched_getscheduler(arena.notes["starve"].pid) == os.SCHED_IDLE,
        quick=False,
    ),
    job_attack(
        "processes/pin-others",
        title=both("Ties another process to one processor", "把其他进程绑在一个处理器上"),
        wants=both("to slow other runs, and to be seen in their time", "拖慢其他运行，借时长传递信号"),
        defence=both("a pid namespace; only oneself can be moved", "进程命名空间；只能移动自己"),
        source="processes_harm.py",
        arguments=_harm("pin"),
        confirm=lambda arena: (
            len(os.sched_getaffinity(arena.notes["pin"].pid)) < len(os.sched_getaffinity(0))
        ),
        quick=False,
    ),
    job_attack(
        "processes/inherited-descriptors",
        title=both("Reads a file that its starter forgot to close", "读取启动者忘记关闭的文件"),
        wants=both("what the enclave has open", "盲盒已打开的文件"),
        defence=both("the launcher passes on only what is named", "启动器只传递列明的描述符"),
        source="processes_inherited.py",
        control=lambda arena: {"inherit": (arena.forgotten,)},
        loot=True,
    ),
    job_attack(
        "processes/pass-descriptors",
        title=both("Hands an open file to another process", "把已打开的文件交给其他进程"),
        wants=both("to keep data alive past its own end", "让数据在自身结束后仍存活"),
        defence=NO_CALL,
        source="processes_pass.py",
        quick=False,
    ),
    job_attack(
        "processes/setuid",
        title=both("Starts a program that runs as root", "启动带 setuid 的 root 程序"),
        wants=both("to be root", "成为 root"),
        defence=both(
            "no such program inside; no new rights; nothing can be executed",
            "沙箱内没有；不可获得新权限；不可执行程序",
        ),
        source="processes_setuid.py",
        arguments=_setuid,
    ),
    _namespace(
        "user-namespace",
        "unshare",
        both("Becomes root of a namespace (unshare)", "用 unshare 成为命名空间的 root"),
    ),
    _namespace("clone-namespace", "clone", both("The same through clone", "改用 clone")),
    _namespace(
        "clone3-namespace",
        "clone3",
        both("The same through clone3, past filters", "改用 clone3 绕过过滤"),
        quick=False,
    ),
    _namespace(
        "setns",
        "setns",
        both("Moves into another process's namespaces", "进入其他进程的命名空间"),
        both("to leave its own", "离开自己的命名空间"),
        quick=False,
    ),
    _namespace(
        "mount",
        "mount",
        both("Mounts over a folder", "覆盖挂载目录"),
        both("to replace what is read-only", "替换只读内容"),
    ),
    _namespace(
        "mount-new-calls",
        "mount-new",
        both("The same through the newer calls", "改用新的挂载系统调用"),
        both("to get past filters of older days", "绕过旧式过滤规则"),
        quick=False,
    ),
    _namespace(
        "pivot-root",
        "pivot-root",
        both("Changes the root folder (pivot_root)", "更换根目录（pivot_root）"),
        both("what lies below the old root", "原根目录之外的内容"),
        quick=False,
    ),
    _namespace(
        "chroot",
        "chroot",
        both("Climbs out of its root folder (chroot)", "用 chroot 爬出根目录"),
        both("the host's files", "宿主机的文件"),
        quick=False,
    ),
    _namespace(
        "reboot",
        "reboot",
        both("Calls reboot", "调用 reboot"),
        both("to stop what it is root of", "停掉自己能控制的系统"),
        quick=False,
    ),
    job_attack(
        "processes/own-cgroup",
        title=both("Changes its own limits in /sys/fs/cgroup", "在 /sys/fs/cgroup 修改自身限额"),
        wants=both("memory and processes without limit", "不受限的内存与进程"),
        defence=both("no /sys, though the folder belongs to its user", "没有 /sys（尽管该目录属于同一用户）"),
        source="processes_cgroup.py",
        arguments=_own_group,
    ),
    job_attack(
        "processes/raise-limits",
        title=both("Raises its own resource limits", "提高自身的资源限额"),
        wants=both("to take more than was granted", "占用超出授权的资源"),
        defence=both("hard limits are set, and setting others is not allowed", "设有硬限额，且不允许再设"),
        source="processes_limits.py",
    ),
    job_attack(
        "processes/core-dump",
        title=both("Crashes, so that its memory is written to disk", "崩溃以令内存写入磁盘"),
        wants=both("patients in a file that outlives the run", "让患者数据留在磁盘上"),
        defence=both("core dumps limited to one byte, so there are none", "核心转储限为一字节，即不产生"),
        source="processes_core.py",
        arguments=lambda arena: {"folder": bait.open_folder(arena, "cores")},
        cannot={
            "nothing there": both(
                "this host writes core dumps elsewhere, or none", "本机的核心转储写往别处或关闭"
            )
        },
    ),
    job_attack(
        "processes/execute-memory",
        title=both("Starts a program from memory without a name", "执行无名内存中的程序（memfd）"),
        wants=both("its own tools, past checks of files", "绕过文件检查运行自带工具"),
        defence=both("no call to start it by, and no path to it", "没有可用的系统调用，也没有路径"),
        source="processes_execute.py",
        arguments={"what": "memory"},
    ),
    job_attack(
        "processes/execute-file",
        title=both("Writes a program to scratch space and starts it", "把程序写入临时空间并执行"),
        wants=both("its own tools", "运行自带工具"),
        defence=both("Landlock: no file can be executed", "Landlock：任何文件都不可执行"),
        source="processes_execute.py",
        arguments={"what": "file"},
        open_in=dict.fromkeys((TIER_WITHOUT_LANDLOCK, TIER_GVISOR), OWN_PROGRAMS),
    ),
    job_attack(
        "processes/shell",
        title=both("Starts a shell", "启动 shell"),
        wants=both("the host's tools", "使用宿主机的工具"),
        defence=both("there is none inside, and nothing can be executed", "沙箱内没有，且不可执行程序"),
        source="processes_execute.py",
        arguments={"what": "shell"},
        quick=False,
    ),
    job_attack(
        "processes/type-into-terminal",
        title=both("Types a command into a terminal (TIOCSTI)", "向终端注入命令（TIOCSTI）"),
        wants=both("its command run by whoever started it", "让启动者替它执行命令"),
        defence=both(
            "a session of its own, no terminals, the operation refused", "独立会话，无终端，操作被拒"
        ),
        source="processes_terminal.py",
        cannot={
            "EIO": both("this kernel refuses it to all (legacy_tiocsti)", "内核已全面禁用（legacy_tiocsti）")
        },
    ),
]
