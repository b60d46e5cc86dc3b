"""An attacker's tools: raw system calls, and a way to say how it went. Goes into every bundle."""

import ctypes
import errno
import os
import platform
import signal

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
_X86_64 = {
    "clone": 56, "shmget": 29, "semget": 64, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "semctl": 66,
    "ptrace": 101, "personality": 135, "prctl": 157, "chroot": 161, "settimeofday": 164, "mount": 165,
    "swapon": 167, "reboot": 169, "sethostname": 170, "quotactl": 179, "pivot_root": 155, "sysinfo": 99,
    "syslog": 103, "mbind": 237, "mq_open": 240, "mq_timedreceive": 243, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "inotify_init1": 294, "inotify_add_watch": 254, "unshare": 272,
    "move_pages": 279, "splice": 275, "perf_event_open": 298, "fanotify_init": 300, "fanotify_mark": 301,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "seccomp": 317,
    "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "acct": 163, "setuid": 105,
}  # fmt: skip
# The numbers that all newer architectures share (include/uapi/asm-generic/unistd.h).
_GENERIC = {
    "clone": 220, "shmget": 194, "semget": 190, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "semctl": 191,
    "ptrace": 117, "personality": 92, "prctl": 167, "chroot": 51, "settimeofday": 170, "mount": 40,
    "swapon": 224, "reboot": 142, "sethostname": 161, "quotactl": 60, "pivot_root": 41, "sysinfo": 179,
    "syslog": 116, "mbind": 235, "mq_open": 180, "mq_timedreceive": 183, "kexec_load": 104, "add_key": 217,
    "request_key": 218, "keyctl": 219, "inotify_init1": 26, "inotify_add_watch": 27, "unshare": 97,
    "move_pages": 239, "splice": 76, "perf_event_open": 241, "fanotify_init": 262, "fanotify_mark": 263,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "seccomp": 277,
    "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "acct": 89, "setuid": 146,
}  # fmt: skip
NUMBERS = _X86_64 if MACHINE == "x86_64" else _GENERIC


def call(name, *arguments):
    """One raw system call; raises OSError when the kernel says no."""
    given = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *given)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def word_for(error):
    """EPERM rather than a sentence in the host's language."""
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error.errno))
    return str(error) if isinstance(error, RuntimeError) else type(error).__name__


def tell(outputs, action):
    """Try ``action`` and hand out how it went.

    What it returns is the detail of a success, or (detail, loot); None or an exception is a failure.
    """
    try:
        got = action()
    except Exception as error:
        outputs.json("finding.json", {"worked": False, "detail": word_for(error)})
        return
    detail, loot = got if isinstance(got, tuple) else (got, "")
    outputs.json(
        "finding.json",
        {"worked": got is not None, "detail": detail or "nothing there", "loot": str(loot)[:4000]},
    )


def in_child(action):
    """Do ``action`` in a process of its own and return what it said.

    Raises its OSError, or RuntimeError with the name of its other exception or of the signal that ended it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = "+" + str(action())
        except BaseException as error:
            numbered = isinstance(error, OSError) and error.errno is not None
            said = f"-{error.errno}" if numbered else f"!{type(error).__name__}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    said = b""
    while piece := os.read(reading, 4096):
        said += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise RuntimeError(signal.Signals(os.WTERMSIG(status)).name)
    text = said.decode(errors="replace")
    if text.startswith("-"):
        number = int(text[1:])
        raise OSError(number, os.strerror(number))
    if not text.startswith("+"):
        raise RuntimeError(text[1:])
    return text[1:]
