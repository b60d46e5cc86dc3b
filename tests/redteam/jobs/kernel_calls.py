"""Open one of the kernel's rarely used doors, the way each is meant to be used."""

import ctypes
import mmap
import os
import struct

from kit import LIBC, MACHINE, call, in_child, tell


def io_uring():
    """A ring that makes system calls in our name, which no filter of system calls sees."""
    ring = call("io_uring_setup", 4, ctypes.create_string_buffer(120))
    os.close(ring)
    return "a ring for calls past the filter"


def bpf_map():
    array, key, value, entries = 2, 4, 8, 4
    wanted = struct.pack("=IIII", array, key, value, entries).ljust(128, b"\0")
    os.close(call("bpf", 0, wanted, len(wanted)))
    return "made a map"


def bpf_program():
    """return 0, as a socket filter."""
    code = ctypes.create_string_buffer(
        struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0), 16
    )
    licence = ctypes.create_string_buffer(b"GPL")
    socket_filter = 1
    wanted = struct.pack("=IIQQ", socket_filter, 2, ctypes.addressof(code), ctypes.addressof(licence)).ljust(
        128, b"\0"
    )
    os.close(call("bpf", 5, wanted, len(wanted)))
    return "loaded a program into the kernel"


def perf():
    software, task_clock, exclude_kernel_and_below = 1, 1, 0b1100000
    wanted = struct.pack("=IIQQQQQ", software, 112, task_clock, 0, 0, 0, exclude_kernel_and_below).ljust(
        112, b"\0"
    )
    os.close(call("perf_event_open", wanted, 0, -1, -1, 0))
    return "opened a counter"


def keyring():
    """A key in the keyring of our user, which outlives the run and is there in the next one."""
    user_ring, unlink, read = -4, 9, 11
    key = call("add_key", b"user", b"trustspace-redteam", b"patient-3", 9, user_ring)
    try:
        kept = ctypes.create_string_buffer(32)
        call("keyctl", read, key, kept, 32, 0)
    finally:
        call("keyctl", unlink, key, user_ring, 0, 0)
    return "left a patient with the kernel" if kept.value == b"patient-3" else None


def key_request():
    """Ask for a key: without one at hand, the kernel starts a program of the host, as root."""
    try:
        call("request_key", b"user", b"trustspace:nobody-has-this", b"callout", -4)
    except OSError as error:
        # ENOKEY: everybody was asked. ENOENT: it wanted to start /sbin/request-key, which this host lacks.
        if error.errno not in (126, 2):
            raise
    return "the kernel asked the host for a key"


def userfaultfd():
    user_mode_only = 1
    os.close(call("userfaultfd", user_mode_only))
    return "stops threads in the middle of an access"


def inotify(folder):
    watcher = call("inotify_init1", os.O_NONBLOCK)
    all_events = 0xFFF
    call("inotify_add_watch", watcher, folder.encode(), all_events)
    os.listdir(folder)
    seen = os.read(watcher, 4096)
    os.close(watcher)
    return "hears who opens what" if seen else None


def fanotify(folder):
    report_fid, add, accessed, here = 0x200, 1, 1 | 0x20, -100
    watcher = call("fanotify_init", report_fid, 0)
    call("fanotify_mark", watcher, add, accessed, here, folder.encode())
    os.close(watcher)
    return "watches a folder"


def handles(folder):
    """The number that a file has on its disk; whoever may open by number needs no path."""
    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 136)
    mount = ctypes.c_int()
    call("name_to_handle_at", -100, folder.encode(), handle, ctypes.byref(mount), 0)
    return "got a file's number"


def open_by_handle(folder):
    """The classic way out of a container that runs as root: the root folder has a well-known number."""
    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 136)
    call("name_to_handle_at", -100, folder.encode(), handle, ctypes.byref(ctypes.c_int()), 0)
    disk = os.open(folder, os.O_RDONLY)
    os.close(call("open_by_handle_at", disk, handle, os.O_RDONLY))
    return "opened a file by its number alone"


def personality():
    no_randomisation = 0x0040000
    before = call("personality", 0xFFFFFFFF)
    call("personality", before | no_randomisation)
    return "no randomised addresses any more" if call("personality", before) & no_randomisation else None


def prctl():
    done = []
    for name, option, value in (("dumpable", 4, 1), ("tracer", 0x59616D61, -1), ("subreaper", 36, 1), ("timer slack", 29, 1),
                                ("time stamp counter", 26, 1), ("endian", 20, 0), ("machine check", 33, 1)):  # fmt: skip
        try:
            call("prctl", option, value, 2 if name == "machine check" else 0, 0, 0)
        except OSError:
            continue
        done.append(name)
    return f"changed {', '.join(done)}" if done else None


def seccomp_notify():
    """Have our children's calls sent to us: the tool of sandboxes, in the hands of the prisoner."""
    set_filter, listen = 1, 8
    LIBC.prctl(38, 1, 0, 0, 0)
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), 8)
    os.close(call("seccomp", set_filter, listen, struct.pack("@HP", 1, ctypes.addressof(code))))
    return "rules over its own calls"


def memfd_secret():
    os.close(call("memfd_secret", 0))
    return "memory that nobody else can look at"


def modify_ldt():
    size = LIBC.syscall(
        ctypes.c_long(154), ctypes.c_long(1), struct.pack("=IIII", 0, 0, 0xFFFFF, 0x51), ctypes.c_long(16)
    )
    if size != 0:
        raise OSError(ctypes.get_errno() or 1, "")
    return "a memory segment of its own"


def splice(folder):
    """Pages of a file into a pipe without a copy: how a read-only file was written to (CVE-2022-0847)."""
    path = os.path.__file__
    with open(path, "rb") as file:
        reading, writing = os.pipe()
        moved = os.splice(file.fileno(), writing, 100, offset_src=0)
    os.close(reading)
    os.close(writing)
    return "the kernel's own pages of a file in a pipe" if moved else None


def clock():
    call("clock_adjtime", 0, ctypes.create_string_buffer(256))
    return "the state of the machine's clock"


def quota():
    """Q_SYNC for users, on all file systems."""
    call("quotactl", 0x800001 << 8, None, 0, None)
    return "the machine wrote out its quotas"


def mempolicy():
    size = 4096
    page = mmap.mmap(-1, size)
    where = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call("mbind", where, size, 0, None, 0, 0)
    return "says where memory is to lie"


def module():
    """An empty file is no module, but the kernel says so only to those who may load one."""
    number = os.memfd_create("module")
    os.write(number, b"no module")
    return admitted("finit_module", number, b"", 0)


def admitted(name, *arguments):
    """Whether the kernel goes on to look at what it was given, rather than refuse who asks."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (1, 13, 38):
            raise
    return "the kernel read what it was to load"


def administration():
    """What only the host's administrator may do, each with arguments that are wrong: who may not is told so first."""
    tries = {
        "swap": ("swapon", b"/nonexistent", 0),
        "accounting": ("acct", b"/nonexistent"),
        "clock": ("settimeofday", None, struct.pack("=ii", 9999, 0)),
        "host name": ("sethostname", b"", -1),
        "kernel": ("kexec_load", 0, 0, None, 0),
    }
    done = []
    for name, arguments in tries.items():
        try:
            admitted(*arguments)
        except (OSError, KeyError):
            continue
        done.append(name)
    return f"may change {', '.join(done)}" if done else None


def native(code, number):
    """Run these bytes as a function and return what it returns."""
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=everything)
    page.write(code)
    got = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if -4096 < got < 0:
        raise OSError(-got, os.strerror(-got))
    return number(got)


def int80():
    """socket(AF_INET, SOCK_STREAM, 0) by the 32-bit entry, where all calls have other numbers."""
    # push rbx; mov eax, 359; mov ebx, 2; mov ecx, 1; xor edx, edx; int 0x80; pop rbx; ret
    code = b"\x53\xb8\x67\x01\x00\x00\xbb\x02\x00\x00\x00\xb9\x01\x00\x00\x00\x31\xd2\xcd\x80\x5b\xc3"
    return in_child(lambda: native(code, lambda got: "a socket past the filter" if got > 2 else None))


def x32():
    """getpid by the x32 numbers."""
    # mov eax, 0x40000027; syscall; ret
    return in_child(lambda: native(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3", lambda got: "a call past the filter"))


def machine_code():
    """mov eax, 42; ret: whatever Python does not let us do, the processor does."""
    codes = {"x86_64": b"\xb8\x2a\x00\x00\x00\xc3", "aarch64": b"\x40\x05\x80\x52\xc0\x03\x5f\xd6"}
    return native(codes[MACHINE], lambda got: "ran machine code of its own" if got == 42 else None)


def run(inputs, outputs):
    what = inputs.arguments["what"]
    action = globals()[what.replace("-", "_")]
    needs_folder = what in ("inotify", "fanotify", "handles", "open-by-handle", "splice")
    tell(outputs, (lambda: action(inputs.arguments["folder"])) if needs_folder else action)
