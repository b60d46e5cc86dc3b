"""Open every device there is, but those that are meant for everybody everywhere."""

import os

from kit import tell

HARMLESS = {"null", "random", "urandom"}
ALSO = (
    "kvm",
    "fuse",
    "net/tun",
    "ptmx",
    "vhost-vsock",
    "dri/renderD128",
    "nvidia0",
    "mem",
    "kmsg",
    "loop-control",
)


def run(inputs, outputs):
    def look():
        try:
            names = set(os.listdir("/dev"))
        except OSError:
            names = set()
        opened = []
        for name in sorted((names | set(ALSO)) - HARMLESS):
            path = f"/dev/{name}"
            # A link leads to descriptors that are ours; a folder is no device; a tape would be rewound.
            if os.path.islink(path) or os.path.isdir(path) or name.startswith(("st", "watchdog")):
                continue
            try:
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))
            except OSError:
                continue
            opened.append(name)
        return f"opened {', '.join(opened)}" if opened else None

    tell(outputs, look)
