"""Where things are inside a sandbox. Imports nothing, because the worker's start waits for it."""

from __future__ import annotations

RUNTIME, APP, TESTS = "/runtime", "/app", "/tests"
# Not zero: a shared mapping of it is memory that no limit counts.
DEVICES = ("null", "random", "urandom")
# Facts that libraries choose their code paths by; copies, so that nothing live of the kernel is seen.
COPIED = ("/proc/cpuinfo", "/sys/devices/system/cpu/possible", "/sys/devices/system/cpu/present",
          "/sys/devices/system/cpu/online")  # fmt: skip
# The user and group that a job believes to be (nobody); outside it is the sandbox's user.
SANDBOX_ID = 65534
# What Landlock leaves open: reading, scratch space, and the device that swallows.
READABLE = (RUNTIME, APP, TESTS, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/proc", "/sys", "/dev")
SCRATCH = ("/tmp", "/dev/shm")  # noqa: S108 - inside the sandbox
WRITABLE_FILES = ("/dev/null",)
