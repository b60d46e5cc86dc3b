"""Write what it already says to a switch of the kernel: whoever may do that may write anything there."""

import os

from kit import tell


def run(inputs, outputs):
    path = inputs.arguments["path"]

    def write():
        if path == "/proc/sysrq-trigger":
            # Opening shows it; a letter written there stops the machine.
            os.close(os.open(path, os.O_WRONLY))
            return "the machine can be stopped"
        with open(path, encoding="ascii") as file:
            now = file.read()
        with open(path, "w", encoding="ascii") as file:
            file.write(now)
        return "written"

    tell(outputs, write)
