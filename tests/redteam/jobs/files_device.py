"""Make a device node, which leads past every file system to the kernel's random numbers, or to a disk."""

import os
import stat

from kit import tell


def run(inputs, outputs):
    def make():
        path = f"/tmp/device-{os.getpid()}"
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 9))
        try:
            with open(path, "rb") as file:
                return "a device of its own, read" if file.read(8) else None
        finally:
            os.unlink(path)

    tell(outputs, make)
