"""What isolation this host can give, by each way of making sandboxes, why not more, and what to change.

``gather`` looks at the host and tries a sandbox; ``assess`` is a pure function from those facts to a
report, so that reports for hosts that are not at hand are tested on recorded facts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trustspace.domain.tiers import (
    TIER_FULL,
    TIER_GVISOR,
    TIER_WITHOUT_LANDLOCK,
    TIER_WITHOUT_NAMESPACES,
)
from trustspace.errors import TrustspaceError
from trustspace.sandbox import bubblewrap, cgroup, confined, gvisor, landlock, layout, memory, seccomp
from trustspace.sandbox.config import BACKENDS, SandboxConfig
from trustspace.sandbox.gvisor import GvisorFacts
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.remedies import WORDS, Finding, finding
from trustspace.sandbox.runtime import ensure_app, find_runtime

# The first that does not follow links while it sets up mounts (CVE-2026-87766).
PATCHED_BUBBLEWRAP: Final = (0, 12)


@dataclass(frozen=True)
class HostFacts:
    """What was seen. Empty strings and None mean: not there, or could not be read, or not looked at.

    ``landlock_errno`` says why there is no Landlock (``landlock.look``). ``trial_error`` is what a sandbox in
    namespaces said that did not come up, ``confined_error`` one without them. ``counted``: "v1" or "v2" where control
    groups can be had, "none" where not, "" when nobody looked.
    """

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
    landlock_errno: int = 0
    confined_error: str | None = None
    counted: str = ""
    gvisor: GvisorFacts | None = None


@dataclass(frozen=True)
class HostReport:
    """The tier that one way of making sandboxes has here (None: it cannot), and what was found on the way."""

    backend: str
    tier: str | None
    findings: tuple[Finding, ...]
    facts: HostFacts

    def reasons(self, language: str) -> str:
        """What stands in the way, with remedies, as running text."""
        blocking = [each for each in self.findings if each.blocks]
        return " ".join(f"{each.text[language]} {each.fix[language]}".strip() for each in blocking)

    def render(self, language: str) -> str:
        """The whole report for a terminal."""
        tier = self.tier or WORDS["refuse"][language]
        return "\n".join([f"{WORDS['heading'][language]}: {tier}", *lines(self.findings, language)])


def lines(findings: Iterable[Finding], language: str) -> list[str]:
    """Findings for a terminal: first what blocks, with a cross, then remarks, with an exclamation mark."""
    result = []
    for each in sorted(findings, key=lambda one: not one.blocks):
        result.append(f"  {'x' if each.blocks else '!'} {each.text[language]}")
        if each.fix[language]:
            result.append(f"    -> {each.fix[language]}")
    return result


def probe(config: SandboxConfig | None = None) -> HostReport:
    """Look at this host and say what the configured way of making sandboxes can give."""
    config = config or SandboxConfig()
    return assess(gather(config), config.backend)


def gather(config: SandboxConfig, backends: Iterable[str] = (), *, groups: bool = False) -> HostFacts:
    """Collect the facts; tries a sandbox of each of ``backends`` (the configured one) where everything is there.

    ``groups``: look whether control groups can be had, which makes some and removes them.
    """
    tried = tuple(backends) or (config.backend,)
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
    ready = library and not (user_problem or runtime_problem)
    abi, code = landlock.look() if config.landlock else (0, 0)
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
        landlock_abi=abi,
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        swap=len(_text("/proc/swaps").splitlines()) > 1,
        core_pattern=_text("/proc/sys/kernel/core_pattern").strip(),
        trial_error=_trial(config) if ready and version and "namespaces" in tried else None,
        landlock_errno=code,
        confined_error=_confined_trial(config, abi) if ready and abi and "landlock" in tried else None,
        counted=_groups(config) if groups and not user_problem else "",
        gvisor=gvisor.gather(config) if "gvisor" in tried else None,
    )


def assess(facts: HostFacts, backend: str = "namespaces") -> HostReport:
    """The tier and the findings that follow from the facts. No input or output happens here."""
    own = {"namespaces": _namespaces, "landlock": _confined, "gvisor": _gvisor}[backend](facts)
    findings = [*_missing(facts), *own, *_remarks(facts)]
    refused = any(each.blocks for each in findings)
    return HostReport(backend, None if refused else _tier(facts, backend), tuple(findings), facts)


def _tier(facts: HostFacts, backend: str) -> str:
    if backend == "namespaces":
        return TIER_FULL if facts.landlock_abi > 0 else TIER_WITHOUT_LANDLOCK
    return TIER_WITHOUT_NAMESPACES if backend == "landlock" else TIER_GVISOR


def survey(config: SandboxConfig | None = None) -> tuple[HostReport, ...]:
    """Try every way of making sandboxes on this host: one report for each."""
    facts = gather(config or SandboxConfig(), BACKENDS, groups=True)
    return tuple(assess(facts, backend) for backend in BACKENDS)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _missing(facts: HostFacts) -> list[Finding]:
    """What every sandbox needs."""
    found = []
    if not facts.libseccomp:
        found.append(finding("libseccomp"))
    if facts.user_problem:
        found.append(finding("user", facts.user_problem))
    if facts.runtime_problem:
        found.append(finding("runtime", facts.runtime_problem))
    return found


def _namespaces(facts: HostFacts) -> list[Finding]:
    found = []
    if not facts.bwrap_version:
        found.append(finding("bubblewrap"))
    elif _version(facts.bwrap_version) < bubblewrap.OLDEST_VERSION:
        found.append(finding("bubblewrap-version", facts.bwrap_version))
    elif _version(facts.bwrap_version) < PATCHED_BUBBLEWRAP:
        found.append(finding("bubblewrap-links", facts.bwrap_version))
    if facts.trial_error:
        found.append(finding(_why_no_namespaces(facts), facts.trial_error))
    if facts.landlock_abi < 1:
        found.append(_no_landlock(facts, blocks=False))
    return found


def _why_no_namespaces(facts: HostFacts) -> str:
    """Why a trial sandbox did not come up: the host's own switches first, then the container around us."""
    if facts.apparmor_restricts_userns == 1:
        return "apparmor"
    if facts.unprivileged_userns_clone == 0:
        return "userns-clone"
    if facts.max_user_namespaces == 0:
        return "userns-max"
    if facts.container == "kubernetes":
        return "kubernetes"
    return "container" if facts.container else "trial"


def _confined(facts: HostFacts) -> list[Finding]:
    if facts.landlock_abi < confined.OLDEST_LANDLOCK:
        return [_no_landlock(facts, blocks=True)]
    if facts.confined_error:
        return [finding("confined-trial", facts.confined_error)]
    return [finding("confined")]


def _no_landlock(facts: HostFacts, *, blocks: bool) -> Finding:
    name = {errno.EOPNOTSUPP: "landlock-off", errno.EPERM: "landlock-forbidden"}.get(
        facts.landlock_errno, "landlock"
    )
    return finding(name, facts.kernel, blocks=blocks)


def _gvisor(facts: HostFacts) -> list[Finding]:
    said = gvisor.problem(facts.gvisor) if facts.gvisor is not None else ("gvisor-missing", "")
    return [finding(*said)] if said is not None else []


def _remarks(facts: HostFacts) -> list[Finding]:
    """What does not stand in the way and should be known."""
    found = []
    if facts.swap:
        found.append(finding("swap"))
    if facts.core_pattern.startswith("|"):
        found.append(finding("core-pattern", facts.core_pattern.split()[0].lstrip("|")))
    if facts.counted == "none":
        found.append(finding("uncounted"))
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


def _groups(config: SandboxConfig) -> str:
    """Which control groups can be had here, as an enclave has them."""
    identity = sandbox_identity(config.user)
    base = cgroup.prepare(identity.uid, identity.gid) if config.cgroups else None
    if base is None:
        return "none"
    cgroup.remove(base)
    return f"v{base.version}"


def _trial(config: SandboxConfig) -> str | None:
    """Start a sandbox that does nothing, as the user they run as; None when it works, else what was said."""
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
        return _complaint(
            config,
            [program, "--as-pid-1", "--args", str(arguments), "--", *command],
            {},
            (arguments, rules, null),
        )


def _confined_trial(config: SandboxConfig, abi: int) -> str | None:
    """The same without namespaces: an interpreter that walls itself in, and ends."""
    try:
        runtime = find_runtime(config.runtime)
        made = bubblewrap.plan(config, runtime, ensure_app(runtime, config.app_directory))
    except TrustspaceError as error:
        return str(error)
    program = seccomp.compile_confined(truncation_closed=abi >= confined.TRUNCATION_CLOSED_FROM)
    command = confined.trial_arguments(made, program)
    return _complaint(config, command, confined.environment(made), ())


def _complaint(
    config: SandboxConfig, command: list[str], environment: dict[str, str], descriptors: tuple[int, ...]
) -> str | None:
    """Run it as the user that sandboxes run as: None when it ends well, else the last that it said."""
    try:
        done = subprocess.run(
            command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
            pass_fds=descriptors, **sandbox_identity(config.user).drop(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][:300] if said else f"exit status {done.returncode}"
