"""Read every descriptor that we were started with, whoever forgot it."""

import os
import stat

from kit import tell


def run(inputs, outputs):
    def look():
        others = 0
        for number in range(3, 1024):
            try:
                kind = os.fstat(number)
            except OSError:
                continue
            others += 1
            if not stat.S_ISREG(kind.st_mode) or kind.st_size > 4096:
                continue
            content = os.pread(number, 4096, 0)
            if content.startswith(b"canary-"):
                return f"a forgotten file among {others} descriptors", content.decode()
        return None

    tell(outputs, look)
