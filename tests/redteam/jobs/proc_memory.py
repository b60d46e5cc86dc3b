"""Read another process through its files in /proc: memory, open files, root folder."""

import os

from kit import tell


def run(inputs, outputs):
    given = inputs.arguments
    base = f"/proc/{given['pid']}"

    def memory():
        with open(f"{base}/mem", "rb", buffering=0) as file:
            file.seek(int(given["where"]))
            return "read the memory of another process", file.read(31).decode()

    def descriptor():
        with open(f"{base}/fd/{given['where']}", "rb") as file:
            return "opened what another process has open", file.read(100).decode()

    def root():
        with open(f"{base}/root{given['where']}", "rb") as file:
            return "went through another process's root folder", file.read(100).decode()

    def layout():
        with open(f"{base}/maps", encoding="ascii") as file:
            lines = file.read().splitlines()
        return f"{len(lines)} mappings: where everything lies in another process"

    def lists():
        others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
        return f"{len(others)} other processes" if others else None

    def exists():
        # Whoever may not read it can still ask whether it is there, whose it is, and since when.
        owner = os.stat(base).st_uid
        return f"there is a process with that number, of user {owner}"

    def file_facts():
        seen = os.stat(given["where"])
        return f"a file of {seen.st_size} bytes, and when it changed"

    ways = {
        "exists": exists,
        "file-facts": file_facts,
        "memory": memory,
        "descriptor": descriptor,
        "root": root,
        "layout": layout,
        "list": lists,
    }
    tell(outputs, ways[given["what"]])
