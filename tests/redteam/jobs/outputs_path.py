"""Put something else where the result is expected: a link to a file worth having, or a pipe that never ends."""

import os


def run(inputs, outputs):
    given, what = str(inputs.arguments["folder"]), inputs.arguments["what"]
    folder = given if os.path.isdir(given) else os.getcwd()
    for name in ("finding.json", "result.json"):
        path = f"{folder}/{name}"
        try:
            if what == "symlink":
                os.symlink(str(inputs.arguments["target"]), path)
            elif what == "hardlink":
                os.link(str(inputs.arguments["target"]), path)
            else:
                os.mkfifo(path)
        except OSError:
            continue
