"""Reach the folder where the kernel keeps our limits, which belongs to our user, and change something."""

import os

from kit import tell


def run(inputs, outputs):
    def change():
        path = f"{inputs.arguments['folder']}/unlimited-{os.getpid()}"
        os.mkdir(path)
        os.rmdir(path)
        return "made a group without limits"

    tell(outputs, change)
