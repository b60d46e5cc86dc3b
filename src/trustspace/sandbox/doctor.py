"""What isolation this host can give, why not more, and what to change.

``gather`` looks at the host and tries one sandbox; ``assess`` is a pure function from those facts to a
report, so that reports for hosts that are not at hand are tested on recorded facts.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from trustspace.errors import TrustspaceError
from trustspace.sandbox import bubblewrap, landlock, layout, memory, seccomp
from trustspace.sandbox.config import TIER_FULL, TIER_WITHOUT_LANDLOCK, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.runtime import ensure_app, find_runtime


@dataclass(frozen=True)
class HostFacts:
    """What was seen. Empty strings and None mean: not there, or could not be read."""

    root: bool
    kernel: str
    distribution: str
    distribution_version: str
    container: str
    bwrap_version: str
    libseccomp: bool
    user_problem: str
    runtime_problem: str
    landlock_abi: int
    max_user_namespaces: int | None
    unprivileged_userns_clone: int | None
    apparmor_restricts_userns: int | None
    swap: bool
    core_pattern: str
    trial_error: str | None


@dataclass(frozen=True)
class Finding:
    """One reason with its remedy, in English and Chinese. ``blocks``: without a remedy there is no sandbox."""

    name: str
    blocks: bool
    text: dict[str, str]
    fix: dict[str, str]


@dataclass(frozen=True)
class HostReport:
    """The tier this host gives (None: it cannot isolate), and what was found on the way."""

    tier: str | None
    findings: tuple[Finding, ...]
    facts: HostFacts
    notes: tuple[str, ...] = field(default=())

    def reasons(self, language: str) -> str:
        """What stands in the way, with remedies, as running text."""
        blocking = [finding for finding in self.findings if finding.blocks]
        return " ".join(f"{finding.text[language]} {finding.fix[language]}".strip() for finding in blocking)

    def render(self, language: str) -> str:
        """The whole report for a terminal."""
        refuse = {"en": "refuse (this host cannot isolate)", "zh": "拒绝（本机无法隔离）"}
        head = {"en": "sandbox tier", "zh": "沙箱等级"}
        lines = [f"{head[language]}: {self.tier or refuse[language]}"]
        for finding in self.findings:
            mark = "x" if finding.blocks else "!"
            lines.append(f"  {mark} {finding.text[language]}")
            if finding.fix[language]:
                lines.append(f"    -> {finding.fix[language]}")
        return "\n".join(lines)


def probe(config: SandboxConfig | None = None) -> HostReport:
    """Look at this host and say what it can give."""
    return assess(gather(config or SandboxConfig()))


def gather(config: SandboxConfig) -> HostFacts:
    """Collect the facts; tries a sandbox only when everything it needs is there."""
    release = _os_release()
    user_problem = runtime_problem = ""
    try:
        sandbox_identity(config.user)
    except TrustspaceError as error:
        user_problem = str(error)
    try:
        find_runtime(config.runtime)
    except TrustspaceError as error:
        runtime_problem = str(error)
    version = _bwrap_version()
    library = _libseccomp()
    ready = not (user_problem or runtime_problem) and bool(version) and library
    return HostFacts(
        root=os.geteuid() == 0,
        kernel=platform.release(),
        distribution=release.get("ID", ""),
        distribution_version=release.get("VERSION_ID", ""),
        container=_container(),
        bwrap_version=version,
        libseccomp=library,
        user_problem=user_problem,
        runtime_problem=runtime_problem,
        landlock_abi=landlock.abi() if config.landlock else 0,
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        swap=len(_text("/proc/swaps").splitlines()) > 1,
        core_pattern=_text("/proc/sys/kernel/core_pattern").strip(),
        trial_error=_trial(config) if ready else None,
    )


def assess(facts: HostFacts) -> HostReport:
    """The tier and the findings that follow from the facts. No input or output happens here."""
    findings = [*_missing(facts), *_namespaces(facts), *_remarks(facts)]
    refused = any(finding.blocks for finding in findings)
    tier = None if refused else TIER_FULL if facts.landlock_abi > 0 else TIER_WITHOUT_LANDLOCK
    return HostReport(tier, tuple(findings), facts)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _missing(facts: HostFacts) -> list[Finding]:
    found = []
    if not facts.bwrap_version:
        found.append(
            Finding(
                "bubblewrap", True,
                {"en": "bubblewrap is not installed.", "zh": "未安装 bubblewrap。"},
                {"en": "Install it: `apt-get install bubblewrap` (Debian, Ubuntu), `dnf install bubblewrap` (RHEL).",
                 "zh": "请安装：`apt-get install bubblewrap`（Debian、Ubuntu）或 `dnf install bubblewrap`（RHEL）。"},
            )
        )  # fmt: skip
    elif _version(facts.bwrap_version) < bubblewrap.OLDEST_VERSION:
        found.append(
            Finding(
                "bubblewrap-version", True,
                {"en": f"bubblewrap {facts.bwrap_version} is too old: 0.8 is the first with --disable-userns.",
                 "zh": f"bubblewrap {facts.bwrap_version} 版本过旧：0.8 起才有 --disable-userns。"},
                {"en": "Use Debian 12, Ubuntu 24.04, RHEL 10 or later, or build bubblewrap from source.",
                 "zh": "请使用 Debian 12、Ubuntu 24.04、RHEL 10 或更新的系统，或自行编译 bubblewrap。"},
            )
        )  # fmt: skip
    if not facts.libseccomp:
        found.append(
            Finding(
                "libseccomp", True,
                {"en": "libseccomp is not installed.", "zh": "未安装 libseccomp。"},
                {"en": "Install it: `apt-get install libseccomp2` (Debian, Ubuntu), `dnf install libseccomp` (RHEL).",
                 "zh": "请安装：`apt-get install libseccomp2`（Debian、Ubuntu）或 `dnf install libseccomp`（RHEL）。"},
            )
        )  # fmt: skip
    if facts.user_problem:
        found.append(
            Finding(
                "user", True,
                {"en": facts.user_problem, "zh": "以 root 运行，但没有可供沙箱使用的专用普通用户。"},
                {"en": "", "zh": "请以 root 运行一次 `make setup`，或改用普通用户运行飞地进程。"},
            )
        )  # fmt: skip
    if facts.runtime_problem:
        found.append(
            Finding(
                "runtime", True,
                {"en": facts.runtime_problem, "zh": "本机尚未构建沙箱运行环境。"},
                {"en": "", "zh": "请运行 `make setup`。"},
            )
        )  # fmt: skip
    return found


def _namespaces(facts: HostFacts) -> list[Finding]:
    """Why a trial sandbox did not come up: the host's own switches first, then the container around us."""
    if not facts.trial_error:
        return []
    said = facts.trial_error
    if facts.apparmor_restricts_userns == 1:
        return [Finding(
            "apparmor", True,
            {"en": f"AppArmor keeps programs without a profile from making user namespaces ({said}).",
             "zh": f"AppArmor 禁止没有配置文件的程序创建用户命名空间（{said}）。"},
            {"en": "On Ubuntu 24.04: `apt-get install apparmor-profiles`, then link "
                   "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict into /etc/apparmor.d and run "
                   "`apparmor_parser -r` on it.",
             "zh": "Ubuntu 24.04：`apt-get install apparmor-profiles`，将 "
                   "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict 链接到 /etc/apparmor.d，"
                   "再对其运行 `apparmor_parser -r`。"},
        )]  # fmt: skip
    if facts.unprivileged_userns_clone == 0:
        return [Finding(
            "userns-clone", True,
            {"en": "The kernel forbids ordinary users to make user namespaces.", "zh": "内核禁止普通用户创建用户命名空间。"},
            {"en": "Debian: `sysctl -w kernel.unprivileged_userns_clone=1`, kept in /etc/sysctl.d.",
             "zh": "Debian：执行 `sysctl -w kernel.unprivileged_userns_clone=1`，并写入 /etc/sysctl.d。"},
        )]  # fmt: skip
    if facts.max_user_namespaces == 0:
        return [Finding(
            "userns-max", True,
            {"en": "This host allows no user namespaces at all (user.max_user_namespaces is 0).",
             "zh": "本机完全不允许用户命名空间（user.max_user_namespaces 为 0）。"},
            {"en": "RHEL with a hardening profile: `sysctl -w user.max_user_namespaces=10000`, kept in /etc/sysctl.d.",
             "zh": "经加固的 RHEL：执行 `sysctl -w user.max_user_namespaces=10000`，并写入 /etc/sysctl.d。"},
        )]  # fmt: skip
    if facts.container == "kubernetes":
        return [Finding(
            "kubernetes", True,
            {"en": f"This pod may not make namespaces ({said}).", "zh": f"此 Pod 不允许创建命名空间（{said}）。"},
            {"en": "Give the enclave's pod `hostUsers: false`, `procMount: Unmasked` and a Localhost seccomp profile "
                   "that allows clone, unshare, mount, umount2 and pivot_root; or run the enclave on a host or VM.",
             "zh": "请为飞地 Pod 设置 `hostUsers: false`、`procMount: Unmasked`，并使用允许 clone、unshare、mount、"
                   "umount2、pivot_root 的 Localhost seccomp 配置；或在主机或虚拟机上运行飞地。"},
        )]  # fmt: skip
    if facts.container:
        return [Finding(
            "container", True,
            {"en": f"The container this runs in forbids making namespaces ({said}).",
             "zh": f"所在容器禁止创建命名空间（{said}）。"},
            {"en": "Run the enclave on the host or in a VM; or start the container with a seccomp profile that allows "
                   "clone, unshare, mount, umount2 and pivot_root, `--security-opt apparmor=unconfined` and "
                   "`--security-opt systempaths=unconfined`, as an ordinary user.",
             "zh": "请在主机或虚拟机上运行飞地；或以普通用户启动容器，seccomp 配置允许 clone、unshare、mount、umount2、"
                   "pivot_root，并加 `--security-opt apparmor=unconfined` 与 `--security-opt systempaths=unconfined`。"},
        )]  # fmt: skip
    return [Finding(
        "trial", True,
        {"en": f"A trial sandbox did not start: {said}.", "zh": f"试运行的沙箱未能启动：{said}。"},
        {"en": "Run `bwrap --unshare-all --ro-bind / / true` as the sandbox's user to see the host's own message.",
         "zh": "请以沙箱用户运行 `bwrap --unshare-all --ro-bind / / true` 查看系统自身的提示。"},
    )]  # fmt: skip


def _remarks(facts: HostFacts) -> list[Finding]:
    """What does not stand in the way and should be known."""
    found = []
    if facts.landlock_abi < 1:
        found.append(Finding(
            "landlock", False,
            {"en": "The kernel has no Landlock: one wall less.", "zh": "内核没有 Landlock：少一道屏障。"},
            {"en": "Use a kernel from 5.13 on with `landlock` in its `lsm=` list (Debian 12, Ubuntu 22.04, RHEL 9.6 "
                   "or later have it).",
             "zh": "请使用 5.13 以上且 `lsm=` 列表含 `landlock` 的内核（Debian 12、Ubuntu 22.04、RHEL 9.6 及以上）。"},
        ))  # fmt: skip
    if facts.swap:
        found.append(Finding(
            "swap", False,
            {"en": "Swap is on: memory with opened data could be written to a disk.",
             "zh": "已启用交换空间：含明文数据的内存可能被写入磁盘。"},
            {"en": "Switch it off (`swapoff -a`) or encrypt it with a key made at boot.",
             "zh": "请关闭（`swapoff -a`），或用开机时生成的密钥加密。"},
        ))  # fmt: skip
    if not facts.root and not facts.user_problem:
        found.append(Finding(
            "same-user", False,
            {"en": "Sandboxes run as the enclave's own user, not as a dedicated one.",
             "zh": "沙箱以飞地进程的用户身份运行，而非专用用户。"},
            {"en": "Start the enclave as root (it makes sandboxes as a dedicated user) for one more wall.",
             "zh": "以 root 启动飞地（沙箱将以专用用户运行）可多一道屏障。"},
        ))  # fmt: skip
    return found


# -- looking


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def _number(path: str) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path))
    return None


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in _text("/etc/os-release").splitlines())
    return {name: value.strip().strip('"') for name, _, value in pairs}


def _container() -> str:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return ""


def _bwrap_version() -> str:
    program = shutil.which("bwrap")
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # Printing a version makes no sandbox: this is the one time that it may run as root.
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        return said.split()[-1] if said.split() else ""
    return ""


def _libseccomp() -> bool:
    try:
        seccomp.compile_filter(allow_memfd=False)
    except TrustspaceError:
        return False
    return True


def _trial(config: SandboxConfig) -> str | None:
    """Start a sandbox that does nothing, as the user they run as; None when it works, else what was said."""
    identity = sandbox_identity(config.user)
    program = shutil.which("bwrap")
    assert program is not None
    with contextlib.ExitStack() as stack:
        try:
            runtime = find_runtime(config.runtime)
            made = bubblewrap.plan(config, runtime, ensure_app(runtime, config.app_directory))
        except TrustspaceError as error:
            return str(error)
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        stack.callback(os.close, null)
        rules = memory.sealed("filter", seccomp.compile_filter(allow_memfd=False))
        stack.callback(os.close, rules)
        options = bubblewrap.options(made, seccomp=rules, status=null, copies={})
        arguments = memory.sealed("arguments", "\0".join(options).encode() + b"\0")
        stack.callback(os.close, arguments)
        interpreter = f"{layout.RUNTIME}/{runtime.executable}"
        try:
            done = subprocess.run(
                [program, "--as-pid-1", "--args", str(arguments), "--", interpreter, "-S", "-s", "-P", "-B", "-c", "pass"],
                env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
                pass_fds=(arguments, rules, null), **identity.drop(),
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][:300] if said else f"exit status {done.returncode}"
