"""Raise our own limits as far as we may."""

import resource

from kit import tell

NAMES = ("CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC", "RTPRIO", "STACK")


def run(inputs, outputs):
    def lift():
        lifted = []
        for name in NAMES:
            number = getattr(resource, f"RLIMIT_{name}")
            before, most = resource.getrlimit(number)
            # To CPU belongs the second after it in which a program may still say goodbye.
            for wanted in ((-1, -1), (most, most)):
                try:
                    resource.setrlimit(number, wanted)
                except (OSError, ValueError):
                    continue
                break
            now = resource.getrlimit(number)[0]
            more = now == -1 or (before != -1 and now > before)
            if more and now != before and not (name == "CPU" and now == before + 1):
                lifted.append(name)
        return f"raised {', '.join(lifted)}" if lifted else None

    tell(outputs, lift)
