"""Read files of the host, straight or in a roundabout way; arguments: several paths with a bar between."""

import os

from kit import word_for


def straight(path):
    with open(path, "rb") as file:
        return file.read(1 << 16)


def by_symlink(path):
    os.symlink(path, f"/tmp/link-{os.getpid()}")
    try:
        return straight(f"/tmp/link-{os.getpid()}")
    finally:
        os.unlink(f"/tmp/link-{os.getpid()}")


def by_hard_link(path):
    # Beside the file: a link does not leave its file system. Then in scratch space.
    name = f"link-{os.getpid()}"
    for folder in (os.path.dirname(path), "/tmp", "/dev/shm"):
        try:
            os.link(path, f"{folder}/{name}")
        except OSError:
            continue
        try:
            return straight(f"{folder}/{name}")
        finally:
            os.unlink(f"{folder}/{name}")
    raise FileNotFoundError(2, "no link")


def by_detour(path):
    for start in ("/proc/self/root", "/proc/self/cwd", "/tmp/../../..", "/runtime/../..", "/dev/fd/..",
                  "/proc/1/root", "/sys/../"):  # fmt: skip
        try:
            return straight(start + path)
        except OSError:
            continue
    raise FileNotFoundError(2, "no detour")


WAYS = {"straight": straight, "symlink": by_symlink, "hard link": by_hard_link, "detour": by_detour}


def run(inputs, outputs):
    paths = str(inputs.arguments["paths"]).split("|")
    read, errors, loot = [], set(), ""
    for path in paths:
        try:
            loot += WAYS[str(inputs.arguments["way"])](path).decode("latin-1")
            read.append(path)
        except OSError as error:
            errors.add(word_for(error))
    detail = f"{len(read)} of {len(paths)} read {' '.join(sorted(errors))}".strip()
    outputs.json("finding.json", {"worked": bool(read), "detail": detail, "loot": loot[-3000:]})
