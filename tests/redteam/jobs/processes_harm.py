"""Do harm to another process of the same user."""

import os
import resource
import signal

from kit import tell


def run(inputs, outputs):
    pid = inputs.arguments["pid"]

    def kill():
        os.kill(pid, signal.SIGKILL)
        return "ended another process"

    def limit():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
        return "another process cannot write any more"

    def starve():
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        return "another process runs only when nobody else does"

    def pin():
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        return "another process has to stay on one processor"

    tell(outputs, {"kill": kill, "limit": limit, "starve": starve, "pin": pin}[inputs.arguments["what"]])
