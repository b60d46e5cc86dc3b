"""Fill a folder that lies in memory, or on the host's disk, with 160 MiB."""

import contextlib
import os

WANTED_MIB = 160


def run(inputs, outputs):
    written, files = 0, []
    with contextlib.suppress(OSError):
        while written < WANTED_MIB:
            # Many files, so that no limit on the size of one of them helps.
            path = f"{inputs.arguments['folder']}/fill-{os.getpid()}-{len(files)}"
            files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            os.unlink(path)
            for _ in range(32):
                os.write(files[-1], b"\1" * (1 << 20))
                written += 1
    for descriptor in files:
        os.close(descriptor)
    outputs.json("finding.json", {"worked": written >= WANTED_MIB, "detail": f"{written} MiB written"})
