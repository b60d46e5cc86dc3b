"""Start a program that runs as root whoever starts it."""

import subprocess

from kit import tell


def run(inputs, outputs):
    def start():
        said = subprocess.run([inputs.arguments["program"], "-u"], capture_output=True, text=True, check=True)
        return f"a process of user {said.stdout.strip()}" if said.stdout.strip() == "0" else None

    tell(outputs, start)
