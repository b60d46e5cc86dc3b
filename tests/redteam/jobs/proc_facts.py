"""Facts of the machine: each tells attackers where they are, and live ones tell what others do."""

import contextlib
import os
import platform
import time

from kit import call, tell


def first(path):
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(65536)
    return b""


def run(inputs, outputs):
    def live():
        """Memory, load and traffic of the whole machine, as they change."""
        names = (
            "meminfo",
            "loadavg",
            "stat",
            "vmstat",
            "interrupts",
            "net/dev",
            "diskstats",
            "pressure/cpu",
            "uptime",
        )
        found = [name for name in names if first(f"/proc/{name}")]
        with contextlib.suppress(OSError):
            call("sysinfo", bytes(256))
            found.append("sysinfo")
        # How often the machine has gone from one process to another.
        switches = [line.decode() for line in first("/proc/stat").splitlines() if line.startswith(b"ctxt")]
        return (", ".join(found), " ".join(switches)) if found else None

    def mounts():
        lines = first("/proc/self/mountinfo").decode().splitlines()
        return (f"{len(lines)} mounts", "\n".join(line.split(" - ")[1] for line in lines)) if lines else None

    def disk():
        """Free space, live: somebody else's writing shows in it."""
        seen = os.statvfs("/proc" if not os.path.isdir("/runtime") else "/runtime")
        outside = os.statvfs("/")
        free = max(seen.f_bavail, outside.f_bavail)
        return f"free space of the host's disk, to {seen.f_frsize or 4096} bytes" if free else None

    def identity():
        """What tells this machine from all others."""
        paths = ["/etc/machine-id", "/etc/hostname", "/proc/cmdline", "/proc/sys/kernel/random/boot_id"]
        paths += ["/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/bios_version"]
        with contextlib.suppress(OSError):
            paths += [f"/sys/class/net/{name}/address" for name in os.listdir("/sys/class/net")]
        found = {path: first(path).decode(errors="replace").strip() for path in paths}
        found = {path: mark for path, mark in found.items() if mark}
        return (f"{len(found)} of {len(paths)} marks", "\n".join(found.values())) if found else None

    def static():
        """What a program cannot run without knowing."""
        seen = [f"kernel {platform.release()}", f"{len(os.sched_getaffinity(0))} processors"]
        if b"model name" in first("/proc/cpuinfo"):
            seen.append("processor model")
        if time.clock_gettime(time.CLOCK_BOOTTIME) > 0:
            seen.append("time since start")
        return ", ".join(seen)

    def libraries():
        """Which libraries are installed, and in which version: what to look for holes in."""
        found = set()
        for folder in (f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64", "/usr/lib"):
            with contextlib.suppress(OSError):
                found.update(name for name in os.listdir(folder) if ".so." in name)
        return f"{len(found)} libraries of the host" if found else None

    def symbols():
        lines = first("/proc/kallsyms").splitlines()
        return f"{len(lines)} symbols of the kernel and its modules" if lines else None

    def log():
        """The kernel's messages: system call, then device."""
        read_all = 3
        with contextlib.suppress(OSError):
            return "read" if call("syslog", read_all, bytes(4096), 4096) else None
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.read(descriptor, 8192)
        finally:
            os.close(descriptor)
        return "read"

    def memory():
        for path in ("/proc/kcore", "/dev/mem", "/dev/port"):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                os.close(descriptor)
                return "opened the memory of the machine"
        return None

    ways = {"live": live, "mounts": mounts, "disk": disk, "identity": identity, "static": static, "symbols": symbols, "libraries": libraries,
            "log": log, "memory": memory}  # fmt: skip

    tell(outputs, ways[inputs.arguments["what"]])
