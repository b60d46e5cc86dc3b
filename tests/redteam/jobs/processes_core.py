"""Crash with patients in memory, so that the kernel writes it all to disk."""

import os
import resource

from kit import tell


def run(inputs, outputs):
    folder = inputs.arguments["folder"]
    patients = inputs.table()["name"].to_pylist()

    def crash():
        try:
            os.chdir(folder)
        except OSError:
            os.chdir("/tmp")
        child = os.fork()
        if child == 0:
            try:
                _, most = resource.getrlimit(resource.RLIMIT_CORE)
                resource.setrlimit(resource.RLIMIT_CORE, (most, most))
            except (OSError, ValueError):
                # What is set already has to do.
                patients.append("")
            os.abort()
        _, status = os.waitpid(child, 0)
        left = [name for name in os.listdir(".") if name.startswith("core")]
        size = max((os.stat(name).st_size for name in left), default=0)
        for name in left:
            os.unlink(name)
        return "the whole memory in a file" if os.WCOREDUMP(status) and size else None

    tell(outputs, crash)
