"""Parts of the kernel that a computation has no need of, and where most of its holes were found."""

from __future__ import annotations

import platform

from redteam import bait
from redteam.arena import Arena
from redteam.model import Attack, CannotShow, Text, both, job_attack
from trustspace.domain.tiers import TIER_GVISOR

NO_CALL = both("not among the calls that a job may make", "不在任务可用的系统调用之列")
HOLES = both("one of the kernel's many holes there", "利用内核此处的众多漏洞")
ROOT = {"root": True}


def _call(
    name: str,
    title: Text,
    wants: Text = HOLES,
    defence: Text = NO_CALL,
    *,
    folder: bool = False,
    x86: bool = False,
    **more,
) -> Attack:
    def given(arena: Arena) -> dict[str, str]:
        if x86 and platform.machine() != "x86_64":
            raise CannotShow("this processor is no x86-64", "本机不是 x86-64 处理器")
        return {"what": name, "folder": bait.open_folder(arena, "watched") if folder else "-"}

    cannot = {
        "ENOSYS": both("this kernel is built without it", "内核未编入此功能"),
        "EPERM": both("this host refuses it to every process", "本机对所有进程都拒绝"),
        **more.pop("cannot", {}),
    }
    return job_attack(
        f"kernel/{name}", title=title, wants=wants, defence=defence, source="kernel_calls.py", arguments=given,
        cannot=cannot, **more,
    )  # fmt: skip


ATTACKS = [
    _call(
        "io-uring",
        both("Sets up a ring for system calls (io_uring)", "建立系统调用环（io_uring）"),
        both("calls that no filter sees", "绕过过滤的系统调用"),
        cannot={"EPERM": both("this host forbids io_uring", "本机禁止 io_uring")},
    ),
    _call("bpf-map", both("Makes a BPF map", "创建 BPF 映射"), control=ROOT, quick=False),
    _call("bpf-program", both("Loads a BPF program", "加载 BPF 程序"), control=ROOT),
    _call(
        "perf",
        both("Opens a performance counter", "打开性能计数器"),
        both("to see what others compute", "窥探他人的计算"),
        cannot={
            "EACCES": both("this host forbids it (perf_event_paranoid)", "本机已禁用（perf_event_paranoid）")
        },
        quick=False,
    ),
    _call(
        "keyring",
        both("Leaves a patient in the kernel's keyring", "把患者数据存进内核密钥环"),
        both("to find it there in its next run", "供下一次运行取出"),
        cannot={"EDQUOT": both("the user's keyring is full", "该用户的密钥环已满")},
    ),
    _call(
        "key-request",
        both("Lets the kernel ask the host for a key", "让内核向宿主机索取密钥"),
        both("a program of the host, run as root", "触发宿主机以 root 运行的程序"),
        quick=False,
    ),
    _call(
        "userfaultfd",
        both("Stops threads in an access (userfaultfd)", "令线程停在访存中（userfaultfd）"),
        both("time to win races in the kernel", "为内核竞态漏洞赢得时间"),
    ),
    _call(
        "inotify",
        both("Listens who opens which file (inotify)", "监听文件访问（inotify）"),
        both("what others do, and when", "得知他人何时做了什么"),
        folder=True,
    ),
    _call(
        "fanotify",
        both("The same through fanotify", "改用 fanotify"),
        both("what others do, and when", "得知他人何时做了什么"),
        folder=True,
        cannot={"EPERM": both("this kernel keeps it for root", "内核只许 root 使用")},
        quick=False,
    ),
    _call(
        "handles",
        both("Asks for the number of a file", "查询文件句柄号"),
        both("a way to open files without a path", "不经路径打开文件"),
        folder=True,
        cannot={"EOPNOTSUPP": both("the file system has no numbers", "文件系统不支持")},
        quick=False,
    ),
    _call(
        "open-by-handle",
        both("Opens a file by its number (open_by_handle_at)", "按句柄号打开文件"),
        both("every file of the disk, past all mounts", "绕过挂载读取整个磁盘"),
        folder=True,
        control=ROOT,
        cannot={"EOPNOTSUPP": both("the file system has no numbers", "文件系统不支持")},
        quick=False,
    ),
    _call(
        "int80",
        both("Makes calls by the 32-bit entry (int 0x80)", "走 32 位入口（int 0x80）"),
        both("a socket past the filter", "绕过过滤获得套接字"),
        both("another entry than the usual one kills", "走其他入口即被杀死"),
        x86=True,
        cannot={
            "SIGSEGV": both("this kernel has no 32-bit entry", "内核没有 32 位入口"),
            "ENOSYS": both("this kernel has no 32-bit entry", "内核没有 32 位入口"),
        },
    ),
    _call(
        "x32",
        both("Makes calls by their x32 numbers", "使用 x32 调用号"),
        both("calls past the filter", "绕过过滤的系统调用"),
        both("another entry than the usual one kills", "走其他入口即被杀死"),
        x86=True,
        cannot={"ENOSYS": both("this kernel is built without x32", "内核未编入 x32")},
    ),
    _call(
        "personality",
        both("Switches randomised addresses off", "关闭地址随机化"),
        both("easier exploits", "更易利用漏洞"),
        quick=False,
    ),
    _call(
        "prctl",
        both("Changes what it is to the kernel (prctl)", "用 prctl 改变自身属性"),
        both("to be traced, dumped or left behind", "便于被跟踪、转储或存活"),
        both("prctl is allowed for a few operations only", "prctl 只允许少数操作"),
        quick=False,
    ),
    _call(
        "seccomp-notify",
        both("Puts itself in charge of system calls (seccomp)", "自行接管系统调用（seccomp）"),
        both("to lie to code that trusts the kernel", "欺骗信任内核的代码"),
        quick=False,
    ),
    job_attack(
        "kernel/landlock-relax",
        title=both("Adds a Landlock rule that allows everything", "添加放行一切的 Landlock 规则"),
        wants=both("the host's files", "宿主机的文件"),
        defence=both("rules only ever take away; the file is not mounted", "规则只减不增；文件也未挂载"),
        source="kernel_landlock.py",
        arguments=lambda arena: {"path": bait.readable_file(arena)},
        loot=True,
    ),
    _call(
        "memfd-secret",
        both("Takes memory that nobody can look at", "占用无人可查看的内存"),
        both("to hide from whoever looks", "躲避检查"),
        cannot={"EPERM": both("this host forbids it", "本机已禁用")},
        quick=False,
    ),
    _call(
        "modify-ldt",
        both("Makes a memory segment of its own", "自建内存段（modify_ldt）"),
        x86=True,
        quick=False,
    ),
    _call(
        "splice",
        both("Moves file pages to a pipe without a copy", "不经复制把文件页移入管道"),
        both("to write to read-only files (CVE-2022-0847)", "改写只读文件（CVE-2022-0847）"),
        folder=True,
        quick=False,
    ),
    _call(
        "clock",
        both("Asks for the state of the machine's clock", "查询系统时钟状态"),
        both("a steady mark of this machine", "获得该机器的稳定特征"),
        quick=False,
    ),
    _call(
        "quota",
        both("Makes the machine write out its quotas", "令整机同步磁盘配额"),
        both("to slow everybody down", "拖慢所有人"),
        cannot={"EPERM": both("this host forbids it", "本机已禁用")},
        quick=False,
    ),
    _call("mempolicy", both("Says where memory is to lie (mbind)", "指定内存位置（mbind）"), quick=False),
    _call(
        "module",
        both("Loads a kernel module", "加载内核模块"),
        both("to be the kernel", "成为内核的一部分"),
        both("not root, and not among the calls", "不是 root，且系统调用不允许"),
        control=ROOT,
        cannot={"EPERM": both("this host loads no modules any more", "本机已禁止加载模块")},
        quick=False,
    ),
    _call(
        "administration",
        both("Swap, clock, host name, accounting, other kernels", "交换区、时钟、主机名、记账、换内核"),
        both("to administer the host", "管理宿主机"),
        both("not root, and not among the calls", "不是 root，且系统调用不允许"),
        control=ROOT,
        cannot={
            "nothing there": both("root may do none of it in this container", "此容器内 root 也无权执行")
        },
    ),
    job_attack(
        "kernel/devices",
        title=both("Opens every device it can find", "打开能找到的每个设备"),
        wants=both("disks, virtual machines, terminals, graphics", "磁盘、虚拟机、终端、显卡"),
        defence=both("three harmless devices, no others", "只有三个无害设备"),
        source="kernel_devices.py",
        open_in={
            TIER_GVISOR: both(
                "They are gVisor's own imitations, in its own process; no device of the host is behind them.",
                "这些是 gVisor 在自身进程内模拟的设备，背后没有宿主机的任何设备。",
            )
        },
    ),
    _call(
        "machine-code",
        both("Runs machine code of its own", "运行自带的机器码"),
        both("what Python does not let it do", "做 Python 不允许的事"),
        both("nothing: libraries do it too", "无：数值库同样需要"),
        open_because=both(
            "Numerical libraries are machine code too, and no wall relies on the language: seccomp, Landlock, namespaces"
            " and limits hold for whatever the processor runs. Every other attack in this table could use it.",
            "数值库本身就是机器码，任何防线都不依赖语言：seccomp、Landlock、命名空间与限额对处理器执行的一切都有效。"
            "本表其他攻击都可借助机器码。",
        ),
    ),
]
