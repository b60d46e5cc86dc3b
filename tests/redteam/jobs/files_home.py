"""Leave start files and caches in the home, which every run has; and look whether an earlier run did."""

import os

NAMES = (
    ".cache/torch/hub/hubconf.py", ".local/lib/python3.11/site-packages/usercustomize.py", ".config/pip/pip.conf",
    "sitecustomize.py", ".netrc",
)  # fmt: skip


def run(inputs, outputs):
    given = str(inputs.arguments["home"])
    home = given if os.path.isdir(given) else os.environ["HOME"]
    found, left = 0, 0
    for name in NAMES:
        path = f"{home}/{name}"
        found += os.path.exists(path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.write("print('poisoned')\n")
            left += 1
        except OSError:
            continue
    detail = f"{found} files of an earlier run, {left} left for a later one"
    outputs.json("finding.json", {"worked": found > 0, "detail": detail})
