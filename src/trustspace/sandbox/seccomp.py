"""The system calls a job may make: an allow-list, compiled to BPF (seccomp(2)) through libseccomp.

Whatever is not named here fails with EPERM; calls through another entry (32-bit ``int 0x80``, x32) kill
the process. Arguments are checked where a call is two things: ``clone`` without namespaces, ``prlimit64``
for a few limits that can only fall, ``ioctl`` and ``fcntl`` and ``prctl`` by operation, sockets only as unnamed local
pairs. There is no sendmsg, so no descriptor can be passed on.
"""

from __future__ import annotations

import errno
import functools
import tempfile
from collections.abc import Iterable
from typing import Any, Final

from trustspace.errors import CannotIsolate

FILES: Final = (
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
    "open", "openat", "close", "close_range", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "chdir", "fchdir", "getdents64",
    "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat", "rename", "renameat", "renameat2",
    "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "umask", "utimensat", "truncate", "ftruncate",
    "fallocate", "fadvise64", "fsync", "fdatasync", "dup", "dup2", "dup3", "pipe", "pipe2",
)  # fmt: skip
WAITING: Final = (
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "futex", "pause", "restart_syscall",
    "nanosleep", "clock_nanosleep", "sched_yield",
)  # fmt: skip
MEMORY: Final = ("brk", "munmap", "mremap", "mprotect", "madvise", "msync", "membarrier")
PROCESSES: Final = (
    "fork", "vfork", "execve", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid", "getpgrp",
    "getpgid", "getsid", "setsid", "setpgid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
    "getgroups", "set_tid_address", "set_robust_list", "get_robust_list", "rseq", "arch_prctl", "uname",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
    "sched_get_priority_min", "getpriority", "getcpu", "getrusage", "getrlimit", "times",
)  # fmt: skip
SIGNALS: Final = (
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait",
    "sigaltstack", "kill", "tkill", "tgkill", "alarm", "setitimer", "getitimer",
)  # fmt: skip
CLOCKS_AND_CHANCE: Final = ("clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom")
# Only ever restricts, and the worker needs it once for itself.
LANDLOCK: Final = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
# The worker receives its descriptors so; plain pairs serve asyncio and multiprocessing's pipes. setsockopt
# is not here: it attaches packet filters, which are programs for the kernel to run.
LOCAL_PAIRS: Final = ("recvmsg", "recvfrom", "sendto", "shutdown", "getsockopt", "getsockname", "getpeername")
ALLOWED: Final = FILES + WAITING + MEMORY + PROCESSES + SIGNALS + CLOCKS_AND_CHANCE + LANDLOCK + LOCAL_PAIRS

# "There is no such call" makes a library fall back where "not permitted" would make it fail: glibc tries
# clone3 before clone, and the newer calls before their elders.
UNKNOWN: Final = (
    "clone3", "openat2", "futex_waitv", "cachestat", "fchmodat2", "map_shadow_stack", "mseal", "memfd_secret",
    "process_mrelease", "set_mempolicy_home_node",
)  # fmt: skip
# shutil.copystat takes this answer for "this file system has none".
UNSUPPORTED: Final = ("getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr")

# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, and CLONE_PTRACE, CLONE_UNTRACED.
_CLONE_FORBIDDEN: Final = (
    0x80
    | 0x20000
    | 0x02000000
    | 0x04000000
    | 0x08000000
    | 0x10000000
    | 0x20000000
    | 0x40000000
    | 0x2000
    | 0x800000
)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: isatty and blocking modes. TIOCSTI is not here.
_IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS: no locks, leases, owners or notices.
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030, 1034)
# PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_VMA.
_PRCTLS: Final = (1, 3, 15, 16, 21, 23, 38, 39, 0x53564D41)
_AF_UNIX: Final = 1
# RLIMIT_CPU, FSIZE, DATA, NPROC. Not CORE: 1 stops what 0 does not (core(5)).
_LOWERED_LIMITS: Final = (0, 1, 2, 6)
_MAP_SHARED: Final = 0x01
_MAP_ANONYMOUS: Final = 0x20


@functools.lru_cache(maxsize=2)
def compile_filter(*, memory_counted: bool) -> bytes:
    """The filter as an array of ``struct sock_filter`` for this machine's architecture.

    ``memory_counted``: memory files and memory shared without a file count against nothing but a memory
    cgroup, so a job may have them only where there is one. Raises CannotIsolate when libseccomp is missing.
    """
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        raise CannotIsolate(
            "libseccomp is not installed on this host.",
            fix="Install it: `apt-get install libseccomp2` (Debian, Ubuntu) or `dnf install libseccomp` (RHEL).",
        ) from None
    rules = _Rules(pyseccomp)
    rules.allow(ALLOWED)
    arg = pyseccomp.Arg
    if memory_counted:
        rules.allow(("memfd_create", "mmap"))
    else:
        for flag in (_MAP_SHARED, _MAP_ANONYMOUS):
            rules.when("mmap", arg(3, pyseccomp.MASKED_EQ, flag, 0))
    rules.when("clone", arg(0, pyseccomp.MASKED_EQ, _CLONE_FORBIDDEN, 0))
    # Reading limits, and lowering those that the worker sets once for its task; nobody in here can raise one.
    rules.when("prlimit64", arg(2, pyseccomp.EQ, 0))
    for limit in _LOWERED_LIMITS:
        rules.when("prlimit64", arg(1, pyseccomp.EQ, limit))
    rules.when("socketpair", arg(0, pyseccomp.EQ, _AF_UNIX))
    rules.each("ioctl", 1, _IOCTLS)
    rules.each("fcntl", 1, _FCNTLS)
    rules.each("prctl", 0, _PRCTLS)
    rules.refuse(UNKNOWN, errno.ENOSYS)
    rules.refuse(UNSUPPORTED, errno.ENOTSUP)
    # A network that is not there, rather than one that is forbidden: what libraries handle best.
    rules.refuse(("socket",), errno.EAFNOSUPPORT)
    return rules.compile()


class _Rules:
    """A thin layer over pyseccomp that skips what this architecture or libseccomp does not know."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._filter = library.SyscallFilter(library.ERRNO(errno.EPERM))
        self._filter.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
        # The filter is loaded by bubblewrap, which sets no_new_privs itself.
        self._filter.set_attr(library.Attr.CTL_NNP, 0)

    def _known(self, name: str) -> bool:
        try:
            return int(self._library.resolve_syscall(self._library.system_arch(), name)) >= 0
        except (OSError, ValueError):
            return False

    def allow(self, names: Iterable[str]) -> None:
        for name in names:
            if self._known(name):
                self._filter.add_rule(self._library.ALLOW, name)

    def when(self, name: str, *conditions: Any) -> None:
        if self._known(name):
            self._filter.add_rule(self._library.ALLOW, name, *conditions)

    def each(self, name: str, argument: int, values: Iterable[int]) -> None:
        for value in values:
            self.when(name, self._library.Arg(argument, self._library.MASKED_EQ, 0xFFFFFFFF, value))

    def refuse(self, names: Iterable[str], code: int) -> None:
        for name in names:
            if self._known(name):
                self._filter.add_rule(self._library.ERRNO(code), name)

    def compile(self) -> bytes:
        with tempfile.TemporaryFile() as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()
