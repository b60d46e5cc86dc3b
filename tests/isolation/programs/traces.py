"""Programs that try to leave something behind for whoever has the process or its folders next."""

import builtins
import contextlib
import json
import os
import signal
import sys
import tempfile


def _plant_module():
    sys.modules["poison"] = type(sys)("poison")


def _plant_patch():
    from trustspace.jobs import training

    training.run = lambda inputs, emit: emit("stolen", "text/plain", b"")


def _plant_torch():
    import torch

    torch.set_default_dtype(torch.float64)
    torch.manual_seed(4712)


def _plant_files():
    for folder in (tempfile.gettempdir(), "/dev/shm", "."):
        with contextlib.suppress(OSError), open(f"{folder}/poison-of-a-task", "w", encoding="ascii") as file:
            file.write("marker")


def _seeds():
    import random

    import numpy as np
    import torch

    return [torch.initial_seed(), random.random(), float(np.random.random())]  # noqa: NPY002


PLANT = {
    "module": _plant_module,
    "patched platform": _plant_patch,
    "torch": _plant_torch,
    "builtin": lambda: setattr(builtins, "poison", True),
    "environment": lambda: os.environ.__setitem__("POISON", "1"),
    "import path": lambda: sys.path.insert(0, "/tmp/poison"),
    "signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "mask": lambda: os.umask(0o002),
    "directory": lambda: os.chdir("/usr/lib"),
    "files": _plant_files,
}


def _plant():
    for action in PLANT.values():
        # Without namespaces some are refused.
        with contextlib.suppress(OSError):
            action()


def _found():
    import torch

    from trustspace.jobs import training

    mask = 0
    with contextlib.suppress(OSError):
        mask = os.umask(0o022)
        os.umask(mask)
    return {
        "module": "poison" in sys.modules,
        "patched platform": training.run.__name__ != "run",
        "torch": torch.get_default_dtype() != torch.float32 or torch.initial_seed() == 4712,
        "builtin": hasattr(builtins, "poison"),
        "environment": "POISON" in os.environ,
        "import path": "/tmp/poison" in sys.path,
        "signal": signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
        "mask": mask == 0o002,
        "directory": os.getcwd() == "/usr/lib",
        "files": any(os.path.exists(f"{folder}/poison-of-a-task") for folder in ("/tmp", "/dev/shm", ".")),
    }


def _say(emit, finding):
    emit("finding.json", "application/json", json.dumps(finding, sort_keys=True).encode())


def plant(inputs, emit):
    """Change everything that a process of the platform could still be using afterwards."""
    _plant()
    _say(emit, sorted(PLANT))


def look(inputs, emit):
    """Say of each change whether it is there."""
    _say(emit, _found())


def plant_and_look(inputs, emit):
    """The control: both in one process."""
    _plant()
    _say(emit, _found())


def seeds(inputs, emit):
    """Where the chance of three libraries begins."""
    _say(emit, _seeds())


def modules(inputs, emit):
    """What is imported already."""
    _say(emit, sorted(sys.modules))
