"""What the doctor may find, with what to do about it, in English and Chinese: texts only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


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
    "trial": (
        "A trial sandbox did not start: {said}.",
        "试运行的沙箱未能启动：{said}。",
        "Run `bwrap --unshare-all --ro-bind / / true` as the sandbox's user to see the host's own message.",
        "请以沙箱用户运行 `bwrap --unshare-all --ro-bind / / true` 查看系统自身的提示。",
    ),
}
_REMARKS: Final[dict[str, tuple[str, str, str, str]]] = {
    "landlock": (
        "The kernel has no Landlock: one wall less.",
        "内核没有 Landlock：少一道屏障。",
        "Use a kernel from 5.13 on with `landlock` in its `lsm=` list (Debian 12, Ubuntu 22.04, RHEL 9.6 or later).",
        "请使用 5.13 以上且 `lsm=` 列表含 `landlock` 的内核（Debian 12、Ubuntu 22.04、RHEL 9.6 及以上）。",
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
HEADING: Final = {"en": "sandbox tier", "zh": "沙箱等级"}
REFUSE: Final = {"en": "refuse (this host cannot isolate)", "zh": "拒绝（本机无法隔离）"}


def finding(name: str, said: str = "") -> Finding:
    """The finding of that name; ``said`` fills the one gap some texts have."""
    blocks = name in _BLOCKING
    text_en, text_zh, fix_en, fix_zh = (_BLOCKING if blocks else _REMARKS)[name]
    return Finding(
        name,
        blocks,
        {"en": text_en.format(said=said), "zh": text_zh.format(said=said)},
        {"en": fix_en, "zh": fix_zh},
    )
