"""Become root of namespaces of our own, and use what only root may."""

import ctypes
import os
import signal

from kit import LIBC, call, in_child, tell

NEW_NS, NEW_USER, NEW_PID, NEW_NET = 0x20000, 0x10000000, 0x20000000, 0x40000000
PRIVATE, RECURSIVE, CLONE_TREE, RECURSIVE_TREE = 1 << 18, 1 << 14, 1, 0x8000


def alone():
    """New user and mount namespaces, in which nothing we mount shows outside; there we are user 0."""
    user, group = os.getuid(), os.getgid()
    call("unshare", NEW_USER | NEW_NS)
    for name, content in (("uid_map", f"0 {user} 1"), ("setgroups", "deny"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(content)
    call("mount", b"none", b"/", None, PRIVATE | RECURSIVE, None)


def unshare():
    call("unshare", NEW_USER)
    with open("/proc/self/status", encoding="ascii") as file:
        rights = next(line for line in file if line.startswith("CapEff"))
    return f"all rights of a namespace's root ({rights.split()[1].lstrip('0')})"


def clone():
    child = call("clone", NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child with a namespace of its own"


def clone3():
    class Arguments(ctypes.Structure):
        _fields_ = tuple((name, ctypes.c_uint64) for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls"))  # fmt: skip

    wanted = Arguments(flags=NEW_USER, exit_signal=signal.SIGCHLD)
    child = call("clone3", ctypes.byref(wanted), ctypes.sizeof(wanted))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child with a namespace of its own"


def setns():
    """Into the namespaces of a child that made some: what a container's keeper does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call("unshare", NEW_USER | NEW_NET)
        finally:
            os.write(writing, b"x")
            signal.pause()
            os._exit(0)
    os.read(reading, 1)
    try:
        call("setns", call("pidfd_open", child, 0), NEW_USER | NEW_NET)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return "moved into another process's namespaces"


def mount():
    alone()
    call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
    return "mounted over a folder"


def mount_new():
    """With the newer calls, which filters of older days do not know."""
    alone()
    tree = call("open_tree", -100, b"/", CLONE_TREE | RECURSIVE_TREE)
    call("fsopen", b"tmpfs", 1)
    return "cloned the tree of mounts" if tree >= 0 else None


def pivot_root():
    alone()
    call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
    os.mkdir("/tmp/old")
    call("pivot_root", b"/tmp", b"/tmp/old")
    return "another root, the old one below it"


def chroot():
    """The classic way out of chroot: make another one, and climb."""
    call("unshare", NEW_USER)
    os.mkdir(f"/tmp/cage-{os.getpid()}")
    try:
        call("chroot", f"/tmp/cage-{os.getpid()}".encode())
        for _ in range(64):
            os.chdir("..")
        call("chroot", b".")
    finally:
        LIBC.rmdir(f"/tmp/cage-{os.getpid()}".encode())
    return "left the root folder"


def reboot():
    """Where there is a pid namespace, its root may restart it; without one, the machine."""
    call("unshare", NEW_USER | NEW_PID)
    child = os.fork()
    if child == 0:
        call("reboot", 0xFEE1DEAD, 672274793, 0x01234567, 0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "restarted what it is root of" if os.WIFSIGNALED(status) else None


def run(inputs, outputs):
    ways = {"unshare": unshare, "clone": clone, "clone3": clone3, "setns": setns, "mount": mount, "mount-new": mount_new,
            "pivot-root": pivot_root, "chroot": chroot, "reboot": reboot}  # fmt: skip
    tell(outputs, lambda: in_child(ways[inputs.arguments["what"]]))
