"""The system calls a job may make: an allow-list, compiled to BPF (seccomp(2)) through libseccomp.

Whatever is not named here fails with EPERM; calls through another entry (32-bit ``int 0x80``, x32) kill
the process. Arguments are checked where a call is two things: ``clone`` without namespaces, ``prlimit64``
for a few limits that can only fall, ``ioctl`` and ``fcntl`` and ``prctl`` by operation, sockets only as unnamed local
pairs. There is no sendmsg, so no descriptor can be passed on.

``compile_confined`` makes the tighter filter of a worker that has no namespaces around it: there the filter carries
what a namespace would hide.
"""

from __future__ import annotations

import errno
import functools
import tempfile
from collections.abc import Iterable
from typing import Any, Final

from trustspace.errors import CannotIsolate

FILES: Final = (
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek",
    "open", "openat", "close", "close_range", "stat", "lstat", "fstat", "newfstatat", "statx",
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
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
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
LOCAL_PAIRS: Final = ("recvmsg", "recvfrom", "shutdown", "getsockopt", "getsockname", "getpeername")
ALLOWED: Final = FILES + WAITING + MEMORY + PROCESSES + SIGNALS + CLOCKS_AND_CHANCE + LANDLOCK + LOCAL_PAIRS

# "There is no such call" makes a library fall back where "not permitted" would make it fail: glibc tries
# clone3 before clone, and the newer calls before their elders. Two of them tell what other runs do: preadv2
# whether somebody has read a page of the runtime lately (RWF_NOWAIT), statfs how the host's disk fills.
UNKNOWN: Final = (
    "clone3", "openat2", "futex_waitv", "cachestat", "fchmodat2", "map_shadow_stack", "mseal", "memfd_secret",
    "process_mrelease", "set_mempolicy_home_node", "preadv2", "pwritev2", "statfs", "fstatfs",
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
# Mask and value. nvidiactl and nvidia<number>: everything of type 'F' (nv-ioctl-numbers.h; of other devices that are
# not there either, framebuffers have it). nvidia-uvm: plain numbers below 128, and its two for beginning and end
# (uvm_ioctl.h, uvm_linux_ioctl.h); on files those mean the size of a block and, for the privileged, its place.
_GPU_IOCTLS: Final = ((0xFF00, 0x4600), (0xFFFFFF80, 0), (0xFFFFFFF0, 0x30000000))
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS: no locks, leases, owners or notices.
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030, 1034)
# PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_VMA.
_PRCTLS: Final = (1, 3, 15, 16, 21, 23, 38, 39, 0x53564D41)
_AF_UNIX: Final = 1
# RLIMIT_CPU, FSIZE, DATA, NPROC, AS. Not CORE: 1 stops what 0 does not (core(5)).
_LOWERED_LIMITS: Final = (0, 1, 2, 6, 9)
_MAP_SHARED: Final = 0x01
_MAP_ANONYMOUS: Final = 0x20
# Like a stack, which RLIMIT_DATA leaves out.
_MAP_GROWSDOWN: Final = 0x100
# Huge pages that the host keeps ready: memory that a control group does not count (hugetlb has its own controller).
_MAP_HUGETLB: Final = 0x40000
_MFD_HUGETLB: Final = 0x4


# What a process without namespaces of its own must not have: other processes, what changes a file's name or
# metadata (Landlock has no rights for modes, owners and times), and calls that reach a process by its number.
_NOT_CONFINED: Final = frozenset((
    "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat", "rename", "renameat",
    "renameat2", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "umask", "utimensat", "truncate", "fallocate",
    "fsync", "fdatasync", "open", "openat", "fork", "vfork", "execve", "wait4", "waitid", "setsid", "setpgid",
    "get_robust_list", "kill", "tkill", "tgkill", *LANDLOCK,
))  # fmt: skip
# Allowed for the caller alone: 0 is oneself, any other number could be another task of the same user.
_OWN_NUMBER: Final = ("getpgid", "getsid", "sched_getaffinity", "sched_getparam", "sched_getscheduler")
# CLONE_VM, CLONE_SIGHAND, CLONE_THREAD: a thread of this process.
_CLONE_THREAD: Final = 0x100 | 0x800 | 0x10000
_O_TRUNC: Final = 0o1000
# A worker without a pid namespace dies with the launcher by this signal, so it must stay as the launcher set it.
_PR_SET_PDEATHSIG: Final = 1


@functools.lru_cache(maxsize=4)
def compile_filter(*, memory_counted: bool, gpu: bool = False) -> bytes:
    """The filter as an array of ``struct sock_filter`` for this machine's architecture.

    ``memory_counted``: memory files and memory shared without a file count against nothing but a memory
    cgroup, so a job may have them only where there is one. ``gpu``: the driver's ioctls are allowed too, on
    whatever file they come: a filter sees numbers, not files. Raises CannotIsolate when libseccomp is missing.
    """
    pyseccomp = _library()
    rules = _Rules(pyseccomp)
    rules.allow(ALLOWED)
    arg = pyseccomp.Arg
    if memory_counted:
        rules.when("memfd_create", arg(1, pyseccomp.MASKED_EQ, _MFD_HUGETLB, 0))
        rules.when("mmap", arg(3, pyseccomp.MASKED_EQ, _MAP_HUGETLB, 0))
    else:
        rules.no_shared_memory()
    rules.when("clone", arg(0, pyseccomp.MASKED_EQ, _CLONE_FORBIDDEN, 0))
    # Reading limits, and lowering those that the worker sets once for its task; nobody in here can raise one.
    rules.when("prlimit64", arg(2, pyseccomp.EQ, 0))
    for limit in _LOWERED_LIMITS:
        rules.when("prlimit64", arg(0, pyseccomp.EQ, 0), arg(1, pyseccomp.EQ, limit))
    # Where there is no pid namespace, a neighbour of the same user could be meant.
    rules.when("sched_setaffinity", arg(0, pyseccomp.EQ, 0))
    rules.by_operation(_PRCTLS)
    if gpu:
        for mask, value in _GPU_IOCTLS:
            rules.when("ioctl", arg(1, pyseccomp.MASKED_EQ, mask, value))
    return rules.compile()


@functools.lru_cache(maxsize=2)
def compile_confined(*, truncation_closed: bool) -> bytes:
    """The filter of a worker that stands alone, as ``compile_filter`` makes one for a worker in namespaces.

    One process with threads, for good: no fork, no exec, no signal to anybody, no call by another process's number,
    nothing that changes a file's name or metadata, no memory that only a cgroup would count.
    ``truncation_closed``: Landlock keeps files from being emptied (ABI 3); where it does not, no file may be opened
    with O_TRUNC. Raises CannotIsolate when libseccomp is missing.
    """
    pyseccomp = _library()
    rules = _Rules(pyseccomp)
    arg = pyseccomp.Arg
    rules.allow(
        name for name in ALLOWED if name not in _NOT_CONFINED and name not in (*_OWN_NUMBER, "getpriority")
    )
    for name, flags in (("open", 1), ("openat", 2)):
        if truncation_closed:
            rules.allow((name,))
        else:
            rules.when(name, arg(flags, pyseccomp.MASKED_EQ, _O_TRUNC, 0))
    rules.no_shared_memory()
    rules.when("clone", arg(0, pyseccomp.MASKED_EQ, _CLONE_FORBIDDEN | _CLONE_THREAD, _CLONE_THREAD))
    for name in (*_OWN_NUMBER, "sched_setaffinity"):
        rules.when(name, arg(0, pyseccomp.EQ, 0))
    rules.when("getpriority", arg(1, pyseccomp.EQ, 0))
    rules.when("prlimit64", arg(0, pyseccomp.EQ, 0), arg(2, pyseccomp.EQ, 0))
    for limit in _LOWERED_LIMITS:
        rules.when("prlimit64", arg(0, pyseccomp.EQ, 0), arg(1, pyseccomp.EQ, limit))
    rules.by_operation(option for option in _PRCTLS if option != _PR_SET_PDEATHSIG)
    return rules.compile()


def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        raise CannotIsolate(
            "libseccomp is not installed on this host.",
            fix="Install it: `apt-get install libseccomp2` (Debian, Ubuntu) or `dnf install libseccomp` (RHEL).",
        ) from None
    return pyseccomp


class _Rules:
    """A thin layer over pyseccomp that skips what this architecture or libseccomp does not know."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._filter = library.SyscallFilter(library.ERRNO(errno.EPERM))
        self._filter.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
        # Who loads the filter has set no_new_privs: bubblewrap, or the worker.
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

    def no_shared_memory(self) -> None:
        """Map no memory that several processes could share without a file: private limits do not count it."""
        for flag in (_MAP_SHARED, _MAP_ANONYMOUS):
            unseen = flag | _MAP_GROWSDOWN | _MAP_HUGETLB
            self.when("mmap", self._library.Arg(3, self._library.MASKED_EQ, unseen, 0))

    def by_operation(self, prctls: Iterable[int]) -> None:
        """The calls that are many things in one, and how those that are not there answer."""
        arg, equal = self._library.Arg, self._library.EQ
        self.when("socketpair", arg(0, equal, _AF_UNIX))
        # To the other half only: with an address, a half of a datagram pair reaches any socket that is in sight.
        self.when("sendto", arg(4, equal, 0))
        self.each("ioctl", 1, _IOCTLS)
        self.each("fcntl", 1, _FCNTLS)
        self.each("prctl", 0, prctls)
        self.refuse(UNKNOWN, errno.ENOSYS)
        self.refuse(UNSUPPORTED, errno.ENOTSUP)
        # A network that is not there, rather than one that is forbidden: what libraries handle best.
        self.refuse(("socket",), errno.EAFNOSUPPORT)

    def refuse(self, names: Iterable[str], code: int) -> None:
        for name in names:
            if self._known(name):
                self._filter.add_rule(self._library.ERRNO(code), name)

    def compile(self) -> bytes:
        with tempfile.TemporaryFile() as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()
