"""What the kernel tells any process about all the others and about the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redteam import bait
from redteam.arena import Arena
from redteam.model import Text, both, job_attack
from trustspace.domain.tiers import TIER_WITHOUT_NAMESPACES

NO_PROC = both(
    "no /proc is mounted, and the job is alone among its processes", "不挂载 /proc，任务只看得见自己的进程"
)
NEVER_ROOT = both("jobs never run as root; no /proc to write to", "任务绝不以 root 运行；没有可写的 /proc")
PASSWORDS = both("passwords and keys of services", "各种服务的口令与密钥")
ROOT = {"root": True}
STAT = both(
    "Landlock closes what is in files and folders, not stat(2): existence, size and times can be seen. It reaches nobody"
    " before a reviewer has approved an output, and a source unit can demand a tier with namespaces.",
    "Landlock 只封锁文件与目录的内容，不封锁 stat(2)：能看到是否存在、大小与时间。这些只能随审查员批准的输出离开，"
    "数据源单位也可要求带命名空间的等级。",
)


def _aim(what: str, where: Callable[[bait.Victim], object] = lambda _: ""):
    """The victim's process number and what is to be known of it."""

    def given(arena: Arena) -> dict[str, str | int]:
        victim = bait.victim(arena)
        return {"what": what, "pid": victim.pid, "where": str(where(victim)) or "-"}

    return given


def _fact(what: str) -> dict[str, str]:
    return {"what": what}


def _of_this_host(*paths: str):
    """Whether what a job found stands in these files of the host too, line for line; addresses count as they are."""

    def judge(arena: Arena, loot: str) -> bool:
        known = {
            line.split(" - ")[-1]
            for pattern in paths
            for path in Path("/").glob(pattern)
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        }
        return bool(
            known & {line for line in loot.splitlines() if len(line) > 5 and "00:00:00:00" not in line}
        )

    return judge


def _counts_with_the_host(arena: Arena, loot: str) -> bool:
    """Whether the job read the host's own count of process switches, which only ever grows, a moment ago."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    now = int(next(line for line in lines if line.startswith("ctxt")).split()[1])
    return loot.startswith("ctxt") and now // 2 < int(loot.split()[1]) <= now


def _planted(what: str):
    def given(arena: Arena) -> dict[str, str]:
        bait.victim(arena)
        return {"what": what}

    return given


def _worse(arena: Arena) -> dict[str, int]:
    return {"pid": bait.fresh_victim(arena, "oom").pid}


def _is_worse(arena: Arena) -> bool:
    return Path(f"/proc/{arena.notes['oom'].pid}/oom_score_adj").read_text(encoding="ascii").strip() == "1000"


def _switch(name: str, path: str, title: Text, wants: Text, *, quick: bool = False):
    return job_attack(
        f"proc/{name}",
        title=title,
        wants=wants,
        defence=NEVER_ROOT,
        source="proc_write.py",
        arguments={"path": path},
        control=ROOT,
        quick=quick,
        cannot={
            "EROFS": both("/proc/sys is read-only on this host", "本机的 /proc/sys 只读"),
            "ENOENT": both("this kernel has no such switch", "内核没有该开关"),
        },
    )


ATTACKS = [
    job_attack(
        "proc/own-environment",
        title=both("Reads the environment it was started with", "读取自身的环境变量"),
        wants=PASSWORDS,
        defence=both("started with an empty environment", "以空环境启动"),
        source="proc_secrets.py",
        arguments=_fact("own"),
        loot=True,
    ),
    job_attack(
        "proc/environ",
        title=both("Reads the environment of other processes", "读取其他进程的环境变量"),
        wants=PASSWORDS,
        defence=NO_PROC,
        source="proc_secrets.py",
        arguments=_planted("environ"),
        loot=True,
    ),
    job_attack(
        "proc/cmdline",
        title=both("Reads the command lines of other processes", "读取其他进程的命令行"),
        wants=PASSWORDS,
        defence=NO_PROC,
        source="proc_secrets.py",
        arguments=_planted("cmdline"),
        loot=True,
    ),
    job_attack(
        "proc/other-pids",
        title=both("Lists who else runs here", "列出本机正在运行的进程"),
        wants=both("a map of the host, and whom to attack", "掌握宿主机情况，选择攻击对象"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=_aim("list"),
        quick=False,
    ),
    job_attack(
        "proc/mem",
        title=both("Reads another process through /proc/PID/mem", "通过 /proc/PID/mem 读他人内存"),
        wants=both("keys and patients in its memory", "其内存中的密钥与患者数据"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=_aim("memory", lambda victim: victim.address),
        loot=True,
    ),
    job_attack(
        "proc/maps",
        title=both("Reads where everything lies in another process", "读取其他进程的内存布局"),
        wants=both("what randomised addresses hide", "破解地址随机化"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=_aim("layout"),
        quick=False,
    ),
    job_attack(
        "proc/fd",
        title=both("Opens what another process has open", "打开其他进程已打开的文件"),
        wants=both("data in memory files that have no name", "没有文件名的内存文件中的数据"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=_aim("descriptor", lambda victim: victim.descriptor),
        loot=True,
    ),
    job_attack(
        "proc/root",
        title=both("Leaves by another process's root folder", "经由其他进程的根目录逃出"),
        wants=both("the host's files, past every mount", "绕过挂载读取宿主机文件"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=lambda arena: _aim("root", lambda _: bait.readable_file(arena))(arena),
        loot=True,
        quick=False,
    ),
    job_attack(
        "proc/pids-by-asking",
        title=both("Asks for every number whether there is a process", "逐个编号询问进程是否存在"),
        wants=both("who works when, on this machine", "得知本机何时有谁在工作"),
        defence=NO_PROC,
        source="proc_memory.py",
        arguments=_aim("exists"),
        open_in={TIER_WITHOUT_NAMESPACES: STAT},
    ),
    job_attack(
        "proc/facts-of-files",
        title=both("Asks how large a file is and when it changed", "询问文件大小与修改时间"),
        wants=both("how much data a hospital has, and how it grows", "得知医院有多少数据、如何增长"),
        defence=both("no path of the host is mounted", "不挂载宿主机路径"),
        source="proc_memory.py",
        arguments=lambda arena: _aim("file-facts", lambda _: bait.readable_file(arena))(arena),
        open_in={TIER_WITHOUT_NAMESPACES: STAT},
    ),
    job_attack(
        "proc/oom-victim",
        title=both("Makes another process the one to die", "让其他进程在内存不足时先被杀"),
        wants=both("to take memory and let others pay", "占用内存却由他人承担后果"),
        defence=NO_PROC,
        source="proc_victimise.py",
        arguments=_worse,
        confirm=_is_worse,
        quick=False,
    ),
    job_attack(
        "proc/kernel-memory",
        title=both("Opens kcore and the memory devices", "打开 kcore 与内存设备"),
        wants=both("all memory of the machine", "整机内存"),
        defence=both(
            "no such device or file inside; never root", "沙箱内没有这些设备与文件；绝不以 root 运行"
        ),
        source="proc_facts.py",
        arguments=_fact("memory"),
        control=ROOT,
        cannot={"nothing there": both("this kernel offers none of them", "内核不提供这些接口")},
        quick=False,
    ),
    job_attack(
        "proc/kernel-log",
        title=both("Reads the kernel's messages", "读取内核日志"),
        wants=both("addresses, devices, and what others do", "内核地址、设备与他人活动"),
        defence=both("the call is not allowed, the device not there", "系统调用不允许，设备不存在"),
        source="proc_facts.py",
        arguments=_fact("log"),
        control=ROOT,
        cannot={"EPERM": both("root may not read it in this container", "此容器内 root 也无权读取")},
    ),
    job_attack(
        "proc/kernel-symbols",
        title=both("Lists the kernel's symbols and modules", "列出内核符号与模块"),
        wants=both("to know which holes it has", "判断内核有哪些漏洞"),
        defence=NO_PROC,
        source="proc_facts.py",
        arguments=_fact("symbols"),
        quick=False,
    ),
    _switch(
        "core-pattern",
        "/proc/sys/kernel/core_pattern",
        both("Writes to the kernel's core pattern", "改写内核的核心转储程序"),
        both("its own program run as root at the next crash", "下次崩溃时以 root 运行自己的程序"),
        quick=True,
    ),
    _switch(
        "sysrq",
        "/proc/sysrq-trigger",
        both("Opens the switch that stops the machine", "打开可令整机停机的开关"),
        both("to stop the hospital's server", "令医院服务器停机"),
    ),
    _switch(
        "kernel-settings",
        "/proc/sys/kernel/randomize_va_space",
        both("Changes the kernel's settings", "修改内核参数"),
        both("to switch hardening off for all", "关闭全机的加固措施"),
    ),
    job_attack(
        "proc/mounts",
        title=both("Reads what is mounted where", "读取挂载表"),
        wants=both("paths, disks and images of the host", "宿主机的路径、磁盘与镜像"),
        defence=NO_PROC,
        source="proc_facts.py",
        arguments=_fact("mounts"),
        loot=_of_this_host("proc/self/mountinfo"),
        quick=False,
    ),
    job_attack(
        "proc/live-load",
        title=both("Watches memory, load and traffic of the host", "观察整机内存、负载与流量"),
        wants=both("what other runs do, second by second", "逐秒窥探其他运行"),
        defence=both("no /proc, and the call is not allowed", "没有 /proc，系统调用也不允许"),
        source="proc_facts.py",
        arguments=_fact("live"),
        loot=_counts_with_the_host,
    ),
    job_attack(
        "proc/free-disk-space",
        title=both("Watches the free space of the host's disk", "观察宿主机磁盘的剩余空间"),
        wants=both("what other runs write; a way to be told things", "得知他人写入，或接收外来信号"),
        defence=both("the call that tells it is not allowed", "不允许查询文件系统状态"),
        source="proc_facts.py",
        arguments=_fact("disk"),
    ),
    job_attack(
        "proc/machine-identity",
        title=both("Reads serial numbers, names and addresses", "读取序列号、主机名与网卡地址"),
        wants=both("to know which machine of which hospital it is", "识别是哪家医院的哪台机器"),
        defence=both("none of these files is there; a name of its own", "这些文件都不存在；使用独立主机名"),
        source="proc_facts.py",
        arguments=_fact("identity"),
        loot=_of_this_host(
            "etc/machine-id",
            "etc/hostname",
            "proc/cmdline",
            "proc/sys/kernel/random/boot_id",
            "sys/class/dmi/id/*_v*",
            "sys/class/net/*/address",
        ),
        quick=False,
    ),
    job_attack(
        "proc/installed-libraries",
        title=both("Lists which libraries the host has, and their versions", "列出宿主机安装的库及其版本"),
        wants=both("to know which holes they have", "判断它们有哪些漏洞"),
        defence=both("nothing: the runtime runs on them", "无：运行环境依赖这些库"),
        source="proc_facts.py",
        arguments=_fact("libraries"),
        quick=False,
        open_because=both(
            "The runtime needs the host's C library, whose folder is there to read and nothing more. The names and versions are the distribution's, the same for all who installed it, and can leave"
            " only in an output that a reviewer approves.",
            "运行环境需要宿主机的 C 库，其目录仅供读取。库名与版本由发行版决定，"
            "所有安装者相同，且只能随审查员批准的输出离开。",
        ),
    ),
    job_attack(
        "proc/processor-and-kernel",
        title=both("Asks for processor, kernel version, time since start", "查询处理器、内核版本与开机时长"),
        wants=both("to know where it runs", "了解自己运行在哪里"),
        defence=both("nothing: programs need it to run", "无：程序运行需要这些信息"),
        source="proc_facts.py",
        arguments=_fact("static"),
        open_because=both(
            "Numerical libraries choose their code by the processor, and every program may ask for the kernel's"
            " version and the clock. It says nothing of patients or of other runs, and can leave only in an output"
            " that a reviewer approves.",
            "数值库须按处理器型号选择代码，任何程序都可查询内核版本与时钟。这些信息与患者及其他运行无关，"
            "且只能随审查员批准的输出离开。",
        ),
    ),
]
