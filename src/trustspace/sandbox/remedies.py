"""What the doctor may find, with what to do about it, in English and Chinese: texts only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trustspace.domain.tiers import (
    TIER_FULL,
    TIER_GVISOR,
    TIER_WITHOUT_LANDLOCK,
    TIER_WITHOUT_NAMESPACES,
)


@dataclass(frozen=True)
class Finding:
    """One reason with its remedy in each language. ``blocks``: while it lasts there is no sandbox."""

    name: str
    blocks: bool
    text: dict[str, str]
    fix: dict[str, str]


# name: (text en, text zh, fix en, fix zh). {said} is what a trial sandbox or a look at the host said.
_BLOCKING: Final[dict[str, tuple[str, str, str, str]]] = {
    "bubblewrap": (
        "bubblewrap is not installed.",
        "未安装 bubblewrap。",
        "Install it: `apt-get install bubblewrap` (Debian, Ubuntu) or `dnf install bubblewrap` (RHEL).",
        "请安装：`apt-get install bubblewrap`（Debian、Ubuntu）或 `dnf install bubblewrap`（RHEL）。",
    ),
    "bubblewrap-version": (
        "bubblewrap {said} is too old: 0.8 is the first with --disable-userns.",
        "bubblewrap {said} 版本过旧：0.8 起才有 --disable-userns。",
        "Use Debian 12, Ubuntu 24.04, RHEL 10 or later, or build bubblewrap from source.",
        "请使用 Debian 12、Ubuntu 24.04、RHEL 10 或更新的系统，或自行编译 bubblewrap。",
    ),
    "libseccomp": (
        "libseccomp is not installed.",
        "未安装 libseccomp。",
        "Install it: `apt-get install libseccomp2` (Debian, Ubuntu) or `dnf install libseccomp` (RHEL).",
        "请安装：`apt-get install libseccomp2`（Debian、Ubuntu）或 `dnf install libseccomp`（RHEL）。",
    ),
    "user": (
        "{said}",
        "以 root 运行，但没有可供沙箱使用的专用普通用户。",
        "",
        "请以 root 运行一次 `make sandbox`，或改用普通用户运行盲盒进程。",
    ),
    "runtime": (
        "{said}",
        "本机尚未构建沙箱运行环境。",
        "",
        "请运行 `make sandbox`。",
    ),
    "apparmor": (
        "AppArmor keeps programs without a profile from making user namespaces ({said}).",
        "AppArmor 禁止没有配置文件的程序创建用户命名空间（{said}）。",
        (
            "On Ubuntu 24.04: `apt-get install apparmor-profiles`, then link "
            "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict into /etc/apparmor.d and run "
            "`apparmor_parser -r` on it."
        ),
        (
            "Ubuntu 24.04：`apt-get install apparmor-profiles`，将 "
            "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict 链接到 /etc/apparmor.d，"
            "再对其运行 `apparmor_parser -r`。"
        ),
    ),
    "userns-clone": (
        "The kernel forbids ordinary users to make user namespaces.",
        "内核禁止普通用户创建用户命名空间。",
        "On Debian: `sysctl -w kernel.unprivileged_userns_clone=1`, kept in /etc/sysctl.d.",
        "Debian：执行 `sysctl -w kernel.unprivileged_userns_clone=1`，并写入 /etc/sysctl.d。",
    ),
    "userns-max": (
        "This host allows no user namespaces at all (user.max_user_namespaces is 0).",
        "本机完全不允许用户命名空间（user.max_user_namespaces 为 0）。",
        "On RHEL with a hardening profile: `sysctl -w user.max_user_namespaces=10000`, kept in /etc/sysctl.d.",
        "经加固的 RHEL：执行 `sysctl -w user.max_user_namespaces=10000`，并写入 /etc/sysctl.d。",
    ),
    "kubernetes": (
        "This pod may not make namespaces ({said}).",
        "此 Pod 不允许创建命名空间（{said}）。",
        (
            "Give the enclave's pod `hostUsers: false`, `procMount: Unmasked` and a Localhost seccomp profile that "
            "allows clone, unshare, mount, umount2 and pivot_root; or run the enclave on a host or a VM."
        ),
        (
            "请为盲盒 Pod 设置 `hostUsers: false`、`procMount: Unmasked`，并使用允许 clone、unshare、mount、"
            "umount2、pivot_root 的 Localhost seccomp 配置；或在主机或虚拟机上运行盲盒。"
        ),
    ),
    "container": (
        "The container this runs in forbids making namespaces ({said}).",
        "所在容器禁止创建命名空间（{said}）。",
        (
            "Run the enclave on the host or in a VM; or start the container with a seccomp profile that allows "
            "clone, unshare, mount, umount2 and pivot_root, with `--security-opt apparmor=unconfined` and "
            "`--security-opt systempaths=unconfined`, as an ordinary user."
        ),
        (
            "请在主机或虚拟机上运行盲盒；或以普通用户启动容器，使用允许 clone、unshare、mount、umount2、pivot_root "
            "的 seccomp 配置，并加 `--security-opt apparmor=unconfined` 与 `--security-opt systempaths=unconfined`。"
        ),
    ),
    "confined-trial": (
        "A trial sandbox without namespaces did not start: {said}.",
        "试运行的无命名空间沙箱未能启动：{said}。",
        "The sandbox's user must be able to read the runtime (`make sandbox`); nothing may forbid prctl or Landlock.",
        "沙箱用户须能读取运行环境（`make sandbox`），且不得禁止 prctl 与 Landlock。",
    ),
    "gvisor-missing": (
        "gVisor is not installed: there is no `runsc`.",
        "未安装 gVisor：没有 `runsc`。",
        'Only needed for `sandbox = "gvisor"`: install it from gvisor.dev, or `apt-get install runsc` (Debian).',
        '仅 `sandbox = "gvisor"` 需要：从 gvisor.dev 安装，或 `apt-get install runsc`（Debian）。',
    ),
    "gvisor-trial": (
        "A trial sandbox under gVisor did not start: {said}.",
        "gVisor 下试运行的沙箱未能启动：{said}。",
        "gVisor needs user namespaces as bubblewrap does: see what is said about `namespaces`.",
        "gVisor 与 bubblewrap 一样需要用户命名空间：见 `namespaces` 的说明。",
    ),
    "gvisor-uncounted": (
        "gVisor needs a control group that counts memory, and none can be had here.",
        "gVisor 需要统计内存的控制组，本机无法取得。",
        "Run the enclave as root, or give its systemd unit `Delegate=yes` (control groups of version 2).",
        "请以 root 运行盲盒，或为其 systemd 单元设置 `Delegate=yes`（控制组 v2）。",
    ),
    "trial": (
        "A trial sandbox did not start: {said}.",
        "试运行的沙箱未能启动：{said}。",
        "Run `bwrap --unshare-all --ro-bind / / true` as the sandbox's user to see the host's own message.",
        "请以沙箱用户运行 `bwrap --unshare-all --ro-bind / / true` 查看系统自身的提示。",
    ),
}
_REMARKS: Final[dict[str, tuple[str, str, str, str]]] = {
    "landlock": (
        "This kernel ({said}) has no Landlock.",
        "本机内核（{said}）没有 Landlock。",
        "Use a kernel from 5.13 on that has it (Debian 12, Ubuntu 22.04, RHEL 9.6 or later).",
        "请使用带有 Landlock 的 5.13 以上内核（Debian 12、Ubuntu 22.04、RHEL 9.6 及以上）。",
    ),
    "landlock-off": (
        "Landlock is switched off in this kernel ({said}).",
        "本机内核（{said}）未启用 Landlock。",
        "Add `landlock` to the kernel's `lsm=` list (see /sys/kernel/security/lsm) and start the computer again.",
        "请在内核参数 `lsm=` 列表中加入 `landlock`（当前值见 /sys/kernel/security/lsm），然后重启。",
    ),
    "landlock-forbidden": (
        "The container's system-call filter forbids Landlock.",
        "容器的系统调用过滤器禁止 Landlock。",
        "Use a container runtime whose default profile allows it (Docker 23 or later), or add the calls landlock_*.",
        "请使用默认配置允许 Landlock 的容器运行时（Docker 23 及以上），或在配置中加入 landlock_* 调用。",
    ),
    "confined": (
        (
            "Weaker than namespaces: a job sees this computer's name, kernel and user numbers, and of every path "
            "whether it exists, how large it is and when it changed, though not what is in it. It has no scratch space "
            "and one process."
        ),
        (
            "弱于命名空间：任务可看到本机名称、内核与用户编号，以及任意路径是否存在、其大小和修改时间，"
            "但读不到其内容。它没有临时空间，只有一个进程。"
        ),
        "",
        "",
    ),
    "bubblewrap-links": (
        (
            "bubblewrap {said} may have CVE-2026-87766 (0.12.0 has not; distributions patch older ones): it follows "
            "links that others put above a mount. No directory that a party could write to is mounted, so there is "
            "no such link."
        ),
        (
            "bubblewrap {said} 可能存在 CVE-2026-87766（0.12.0 已修复，发行版会为旧版打补丁）：它会跟随他人置于挂载点"
            "上级的链接。本系统从不挂载参与方可写的目录，因此不存在这样的链接。"
        ),
        "Update bubblewrap when your distribution offers it.",
        "发行版提供更新后请更新 bubblewrap。",
    ),
    "core-pattern": (
        (
            "Crashed processes are handed to {said}. Sandboxes are not: their core limit is 1, at which the kernel "
            "gives nothing away."
        ),
        "崩溃的进程会交给 {said}。沙箱不会：其 core 上限为 1，内核不交出任何内容。",
        "To have no such program at all: `sysctl -w kernel.core_pattern=core`, kept in /etc/sysctl.d.",
        "如需完全停用：`sysctl -w kernel.core_pattern=core`，并写入 /etc/sysctl.d。",
    ),
    "uncounted": (
        (
            "No control groups: memory is limited for each process, and nothing limits how many processors a job keeps "
            "busy."
        ),
        "没有控制组：内存按单个进程限制，任务占用的处理器数量不受限制。",
        "Run the enclave as root, or give its systemd unit `Delegate=yes` (control groups of version 2).",
        "请以 root 运行盲盒，或为其 systemd 单元设置 `Delegate=yes`（控制组 v2）。",
    ),
    "swap": (
        "Swap is on: memory with opened data could be written to a disk.",
        "已启用交换空间：含明文数据的内存可能被写入磁盘。",
        "Switch it off (`swapoff -a`) or encrypt it with a key made at boot.",
        "请关闭（`swapoff -a`），或用开机时生成的密钥加密。",
    ),
    "same-user": (
        "Sandboxes run as the enclave's own user, not as a dedicated one.",
        "沙箱以盲盒进程的用户身份运行，而非专用用户。",
        "Start the enclave as root (sandboxes then run as a dedicated user) for one more wall.",
        "以 root 启动盲盒（沙箱将以专用用户运行）可多一道屏障。",
    ),
}
# What the doctor says around its findings.
WORDS: Final[dict[str, dict[str, str]]] = {
    "heading": {"en": "sandbox tier", "zh": "沙箱等级"},
    "refuse": {"en": "refuse (this host cannot isolate)", "zh": "拒绝（本机无法隔离）"},
    "computer": {"en": "This computer: {what}", "zh": "本机：{what}"},
    "root": {"en": "as root", "zh": "以 root 运行"},
    "ordinary": {"en": "as an ordinary user", "zh": "以普通用户运行"},
    "kernel": {"en": "kernel {said}", "zh": "内核 {said}"},
    "inside": {"en": "inside {said}", "zh": "位于 {said} 中"},
    "default": {"en": "what a new enclave is set to", "zh": "新盲盒的默认设置"},
    "set": {"en": "what this enclave is set to", "zh": "此盲盒的设置"},
    "tier": {"en": "tier {tier}", "zh": "等级 {tier}"},
    "none": {"en": "cannot be had here", "zh": "本机不可用"},
    "ready": {"en": "An enclave can run here as it is set.", "zh": "盲盒可按当前设置在本机运行。"},
    "stronger": {
        "en": 'Stronger: put `sandbox = "{backend}"` into enclave.toml (tier {tier}).',
        "zh": '更强的选择：在 enclave.toml 中写入 `sandbox = "{backend}"`（等级 {tier}）。',
    },
    "other": {
        "en": 'An enclave with `sandbox = "{now}"` is refused here. Remove what is in the way (x); or put '
        '`sandbox = "{backend}"` into enclave.toml (tier {tier}), if the grants allow that tier.',
        "zh": '设为 `sandbox = "{now}"` 的盲盒会被本机拒绝。请排除障碍（x）；或在 enclave.toml 中写入 '
        '`sandbox = "{backend}"`（等级 {tier}），前提是授权允许该等级。',
    },
    "minimum": {
        "en": 'This enclave is refused here: `minimum_tier = "{tier}"` in its enclave.toml asks for more.',
        "zh": '此盲盒会被本机拒绝：其 enclave.toml 中的 `minimum_tier = "{tier}"` 要求更高。',
    },
    "nothing": {"en": "This computer cannot run an enclave yet.", "zh": "本机暂时不能运行盲盒。"},
}
# What each tier is made of.
TIER_WORDS: Final[dict[str, dict[str, str]]] = {
    TIER_GVISOR: {
        "en": "A kernel of its own, in user space, answers each job's system calls.",
        "zh": "由用户空间中的独立内核处理每个任务的系统调用。",
    },
    TIER_FULL: {
        "en": "Namespaces, files and devices of its own, few system calls, and Landlock as a second lock on files.",
        "zh": "独立的命名空间、文件与设备，仅允许少量系统调用，并以 Landlock 作为文件的第二道锁。",
    },
    TIER_WITHOUT_LANDLOCK: {
        "en": "Namespaces, files and devices of its own, and few system calls; no second lock on files.",
        "zh": "独立的命名空间、文件与设备，仅允许少量系统调用；文件没有第二道锁。",
    },
    TIER_WITHOUT_NAMESPACES: {
        "en": "One process that shuts itself in: Landlock for files, even fewer system calls. No namespaces.",
        "zh": "自我封闭的单个进程：以 Landlock 限制文件，系统调用更少。没有命名空间。",
    },
}


def finding(name: str, said: str = "", *, blocks: bool | None = None) -> Finding:
    """The finding of that name; ``said`` fills the one gap some texts have.

    ``blocks`` is for what stands in the way of one kind of sandbox and not of another.
    """
    blocking = name in _BLOCKING
    text_en, text_zh, fix_en, fix_zh = (_BLOCKING if blocking else _REMARKS)[name]
    return Finding(
        name,
        blocking if blocks is None else blocks,
        {"en": text_en.format(said=said), "zh": text_zh.format(said=said)},
        {"en": fix_en, "zh": fix_zh},
    )
