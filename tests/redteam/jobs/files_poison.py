"""Leave code behind that a later run, or the service itself, will import: in libraries, bytecode, caches, start files."""

import os
import sys

POISON = "canary = open('/dev/null'); print('poisoned by an earlier job')\n"
PLACES = {
    # In each folder that modules are imported from.
    "libraries": ("sitecustomize.py", "usercustomize.py", "poison.pth", "torch/poison.py", "helper.py"),
    "bytecode": ("__pycache__/helper.cpython-311.pyc", "torch/__pycache__/x.pyc", "trustspace/__pycache__/x.pyc"),
    # Below the home.
    "caches": (
        ".cache/torch/hub/hubconf.py", ".cache/torch/kernels/x.so", ".cache/matplotlib/fontlist.json",
        ".config/torch/x", ".local/lib/python3.11/site-packages/usercustomize.py", ".pythonrc.py", ".bashrc",
    ),
}  # fmt: skip


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # What a package manager installed read-only is replaced, where the folder allows it.
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.replace(path + ".new", path)


def run(inputs, outputs):
    what, folder = inputs.arguments["what"], str(inputs.arguments["folder"])
    content = POISON.encode()
    if what == "bytecode":
        import importlib.util
        import marshal

        code = compile(POISON, "helper.py", "exec")
        # An unchecked hash (PEP 552): the source beside it is never looked at.
        content = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
    # A folder below the sandbox's own /tmp is no folder that outlives it.
    roots = [path for path in (folder, *sys.path) if os.path.isabs(path) and os.path.isdir(path)]
    if what == "caches":
        roots = [folder] if os.path.isdir(folder) else ["/root", "/home/sandbox", "/var/cache", "/runtime"]
    written, tried = [], 0
    for root in dict.fromkeys(root.rstrip("/") for root in roots):
        for name in PLACES[what]:
            tried += 1
            try:
                write(f"{root}/{name}", content)
                written.append(name)
            except OSError:
                continue
    detail = f"{len(written)} of {tried} files left behind"
    outputs.json("finding.json", {"worked": bool(written), "detail": detail})
