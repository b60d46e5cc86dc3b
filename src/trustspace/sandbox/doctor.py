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
from dataclasses import dataclass
from pathlib import Path

from trustspace.domain.tiers import TIER_FULL, TIER_WITHOUT_LANDLOCK
from trustspace.errors import TrustspaceError
from trustspace.sandbox import bubblewrap, landlock, layout, memory, seccomp
from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.remedies import HEADING, REFUSE, Finding, finding
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
class HostReport:
    """The tier this host gives (None: it cannot isolate), and what was found on the way."""

    tier: str | None
    findings: tuple[Finding, ...]
    facts: HostFacts

    def reasons(self, language: str) -> str:
        """What stands in the way, with remedies, as running text."""
        blocking = [each for each in self.findings if each.blocks]
        return " ".join(f"{each.text[language]} {each.fix[language]}".strip() for each in blocking)

    def render(self, language: str) -> str:
        """The whole report for a terminal."""
        lines = [f"{HEADING[language]}: {self.tier or REFUSE[language]}"]
        for each in self.findings:
            lines.append(f"  {'x' if each.blocks else '!'} {each.text[language]}")
            if each.fix[language]:
                lines.append(f"    -> {each.fix[language]}")
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
    refused = any(each.blocks for each in findings)
    tier = None if refused else TIER_FULL if facts.landlock_abi > 0 else TIER_WITHOUT_LANDLOCK
    return HostReport(tier, tuple(findings), facts)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _missing(facts: HostFacts) -> list[Finding]:
    found = []
    if not facts.bwrap_version:
        found.append(finding("bubblewrap"))
    elif _version(facts.bwrap_version) < bubblewrap.OLDEST_VERSION:
        found.append(finding("bubblewrap-version", facts.bwrap_version))
    if not facts.libseccomp:
        found.append(finding("libseccomp"))
    if facts.user_problem:
        found.append(finding("user", facts.user_problem))
    if facts.runtime_problem:
        found.append(finding("runtime", facts.runtime_problem))
    return found


def _namespaces(facts: HostFacts) -> list[Finding]:
    """Why a trial sandbox did not come up: the host's own switches first, then the container around us."""
    if not facts.trial_error:
        return []
    if facts.apparmor_restricts_userns == 1:
        name = "apparmor"
    elif facts.unprivileged_userns_clone == 0:
        name = "userns-clone"
    elif facts.max_user_namespaces == 0:
        name = "userns-max"
    elif facts.container == "kubernetes":
        name = "kubernetes"
    else:
        name = "container" if facts.container else "trial"
    return [finding(name, facts.trial_error)]


def _remarks(facts: HostFacts) -> list[Finding]:
    """What does not stand in the way and should be known."""
    found = []
    if facts.landlock_abi < 1:
        found.append(finding("landlock"))
    if facts.swap:
        found.append(finding("swap"))
    if not facts.root and not facts.user_problem:
        found.append(finding("same-user"))
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
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        return said.split()[-1] if said.split() else ""
    return ""


def _libseccomp() -> bool:
    try:
        seccomp.compile_filter(memory_counted=False)
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
        rules = memory.sealed("filter", seccomp.compile_filter(memory_counted=False))
        stack.callback(os.close, rules)
        options = bubblewrap.options(made, seccomp=rules, status=null, copies={})
        arguments = memory.sealed("arguments", "\0".join(options).encode() + b"\0")
        stack.callback(os.close, arguments)
        command = [f"{layout.RUNTIME}/{runtime.executable}", "-S", "-s", "-P", "-B", "-c", "pass"]
        try:
            done = subprocess.run(
                [program, "--as-pid-1", "--args", str(arguments), "--", *command],
                env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
                pass_fds=(arguments, rules, null), **identity.drop(),
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][:300] if said else f"exit status {done.returncode}"
