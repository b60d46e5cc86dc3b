"""The system-call filter, judged by running its BPF program on made-up calls."""

import errno
import platform
import struct

import pytest

from trustspace.sandbox import seccomp

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers are of x86-64")

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBERS = {
    "read": 0, "open": 2, "mmap": 9, "ioctl": 16, "socket": 41, "connect": 42, "bind": 49, "sendmsg": 46, "recvmsg": 47,
    "socketpair": 53, "setsockopt": 54, "clone": 56, "execve": 59, "kill": 62, "fcntl": 72, "flock": 73, "ptrace": 101,
    "syslog": 103, "setuid": 105, "mknod": 133, "prctl": 157, "setrlimit": 160, "chroot": 161, "mount": 165,
    "keyctl": 250, "inotify_init": 253, "unshare": 272, "splice": 275, "perf_event_open": 298, "fanotify_init": 300,
    "prlimit64": 302, "setns": 308, "process_vm_readv": 310, "kexec_file_load": 320, "memfd_create": 319, "bpf": 321,
    "userfaultfd": 323, "execveat": 322, "pidfd_send_signal": 424, "io_uring_setup": 425, "pidfd_getfd": 438,
    "clone3": 435, "landlock_restrict_self": 446, "sysinfo": 99, "getxattr": 191, "sendto": 44, "statfs": 137,
    "fstatfs": 138, "preadv2": 327, "sched_setaffinity": 203,
}  # fmt: skip


def run(program, number, arguments=(), architecture=X86_64):
    """A classic BPF interpreter for what seccomp allows (kernel: net/core/filter.c)."""
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), architecture, 0,
                       *(*arguments, *[0] * (6 - len(arguments))))  # fmt: skip
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator = counter = 0
    while True:
        code, if_true, if_false, k = instructions[counter]
        counter += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                counter += k
            case 0x15:
                counter += if_true if accumulator == k else if_false
            case 0x25:
                counter += if_true if accumulator > k else if_false
            case 0x35:
                counter += if_true if accumulator >= k else if_false
            case 0x45:
                counter += if_true if accumulator & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.fixture(scope="module")
def program():
    return seccomp.compile_filter(memory_counted=False)


def refused(code):
    return ERRNO | code


def test_it_is_a_short_program(program):
    assert len(program) % 8 == 0
    assert 200 < len(program) // 8 < 600


@pytest.mark.parametrize(
    "name", ["read", "open", "mmap", "execve", "kill", "recvmsg", "landlock_restrict_self"]
)
def test_ordinary_calls_are_allowed(program, name):
    assert run(program, NUMBERS[name]) == ALLOW


@pytest.mark.parametrize(
    "name",
    ["connect", "bind", "sendmsg", "setsockopt", "flock", "ptrace", "syslog", "setuid", "mknod", "setrlimit", "chroot",
     "mount", "keyctl", "inotify_init", "unshare", "splice", "perf_event_open", "fanotify_init", "setns",
     "process_vm_readv", "kexec_file_load", "memfd_create", "bpf", "userfaultfd", "execveat", "pidfd_send_signal",
     "io_uring_setup", "pidfd_getfd", "sysinfo"],
)  # fmt: skip
def test_dangerous_calls_are_not_permitted(program, name):
    assert run(program, NUMBERS[name]) == refused(errno.EPERM)


@pytest.mark.parametrize("number", [500, 1000, 0x3FFFFFFF])
def test_calls_of_future_kernels_are_not_permitted(program, number):
    assert run(program, number) == refused(errno.EPERM)


def test_calls_with_a_graceful_answer(program):
    for name in ("clone3", "preadv2", "statfs", "fstatfs"):
        assert run(program, NUMBERS[name]) == refused(errno.ENOSYS)
    assert run(program, NUMBERS["getxattr"]) == refused(errno.ENOTSUP)


@pytest.mark.parametrize("family", [0, 1, 2, 10, 16, 17, 38, 40])
def test_no_socket_of_any_family(program, family):
    assert run(program, NUMBERS["socket"], (family, 1)) == refused(errno.EAFNOSUPPORT)


@pytest.mark.parametrize("family", [0, 2, 10, 16, 40, 1 << 32, (1 << 32) + 1])
def test_only_local_pairs(program, family):
    assert run(program, NUMBERS["socketpair"], (1, 1)) == ALLOW
    assert run(program, NUMBERS["socketpair"], (family, 1)) == refused(errno.EPERM)


def test_a_half_of_a_pair_sends_to_the_other_half_alone(program):
    assert run(program, NUMBERS["sendto"], (5, 1, 1, 0, 0)) == ALLOW
    for address in (1, 1 << 32, 0x7FFF00000000):
        assert run(program, NUMBERS["sendto"], (5, 1, 1, 0, address)) == refused(errno.EPERM)


def test_no_call_is_for_another_process(program):
    for pid in (1, 4711, 1 << 32):
        assert run(program, NUMBERS["prlimit64"], (pid, 6, 1)) == refused(errno.EPERM)
        assert run(program, NUMBERS["sched_setaffinity"], (pid,)) == refused(errno.EPERM)
    assert run(program, NUMBERS["sched_setaffinity"], (0,)) == ALLOW


@pytest.mark.parametrize(
    "flag", [0x80, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_no_clone_into_a_namespace(program, flag):
    sigchld, thread = 17, 0x3D0F00
    assert run(program, NUMBERS["clone"], (sigchld,)) == ALLOW
    assert run(program, NUMBERS["clone"], (thread,)) == ALLOW
    for other in (0, sigchld, thread, 0xFFFFFFFF):
        assert run(program, NUMBERS["clone"], (flag | other,)) == refused(errno.EPERM)


def test_limits_are_read_only_but_for_those_that_a_task_chooses(program):
    chosen = {0, 1, 2, 6, 9}  # CPU, FSIZE, DATA, NPROC, AS: they can fall and never rise
    assert run(program, NUMBERS["prlimit64"], (0, 4, 0, 1)) == ALLOW
    for resource in chosen:
        assert run(program, NUMBERS["prlimit64"], (0, resource, 1, 0)) == ALLOW
    for resource in set(range(16)) - chosen:
        assert run(program, NUMBERS["prlimit64"], (0, resource, 1, 0)) == refused(errno.EPERM)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        # TIOCSTI puts words into a terminal's mouth; TIOCLINUX and SIOCGIFCONF have no business here.
        ("ioctl", 0x5401, [0x5412, 0x541C, 0x8912]),
        # F_SETLK, F_SETLEASE, F_NOTIFY, F_ADD_SEALS, F_SETOWN.
        ("fcntl", 3, [6, 1024, 1026, 1033, 8]),
    ],
)
def test_operations_are_an_allow_list(program, name, good, bad):
    assert run(program, NUMBERS[name], (5, good)) == ALLOW
    for value in bad:
        assert run(program, NUMBERS[name], (5, value)) == refused(errno.EPERM)
        # The kernel looks at the lower half alone, and so must the filter (CVE-2019-10063).
        assert run(program, NUMBERS[name], (5, value | 1 << 32)) == refused(errno.EPERM)


def test_prctl_cannot_add_filters_or_change_what_is_dumpable(program):
    for option in (22, 4, 8, 24, 47):
        assert run(program, NUMBERS["prctl"], (option, 1)) == refused(errno.EPERM)
    assert run(program, NUMBERS["prctl"], (38, 1)) == ALLOW


@pytest.mark.parametrize("architecture", [I386, AARCH64, 0])
@pytest.mark.parametrize("number", [0, 1, 20, 102, 59])
def test_another_architecture_kills(program, architecture, number):
    assert run(program, number, architecture=architecture) == KILL_PROCESS


@pytest.mark.parametrize("number", [0, 1, 39, 59, 512, 520])
def test_x32_kills(program, number):
    assert run(program, 0x40000000 | number) == KILL_PROCESS


def test_memory_that_limits_do_not_see_only_where_a_cgroup_does(program):
    shared, shared_validate, private, anonymous = 0x01, 0x03, 0x02, 0x20
    counted = seccomp.compile_filter(memory_counted=True)
    assert run(counted, NUMBERS["memfd_create"]) == ALLOW
    assert run(program, NUMBERS["memfd_create"]) == refused(errno.EPERM)
    for flags in (shared | anonymous, shared_validate | anonymous, shared | anonymous | 0x20000):
        assert run(counted, NUMBERS["mmap"], (0, 4096, 3, flags)) == ALLOW
        assert run(program, NUMBERS["mmap"], (0, 4096, 3, flags)) == refused(errno.EPERM)
    for flags in (shared, private, private | anonymous, private | anonymous | 0x20000):
        assert run(program, NUMBERS["mmap"], (0, 4096, 3, flags)) == ALLOW
