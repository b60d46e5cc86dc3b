"""Make the project's virtual environment, on a fresh machine too.

    python tools/make_venv.py DIRECTORY

Debian and Ubuntu ship Python without ``ensurepip``; as root we add it through apt, otherwise we say how.
Runs on the bare system Python: the standard library only.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Return the process's exit code."""
    if sys.version_info < (3, 11):
        print("trustspace needs Python 3.11 or newer: run `make PYTHON=python3.11`", file=sys.stderr)
        return 1
    directory = Path(sys.argv[1])
    if make(directory):
        return 0
    package = f"python3.{sys.version_info.minor}-venv"
    if shutil.which("apt-get") and os.geteuid() == 0:
        print(f"installing {package} through apt", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=False)
        if make(directory):
            return 0
    print(
        f"This Python cannot make virtual environments.\nOn Debian or Ubuntu: sudo apt-get install {package}",
        file=sys.stderr,
    )
    return 1


def make(directory: Path) -> bool:
    """Whether the environment now exists, with pip in it; a failed attempt leaves nothing."""
    done = subprocess.run([sys.executable, "-m", "venv", str(directory)], check=False, capture_output=True)
    has_pip = subprocess.run(
        [str(directory / "bin" / "python"), "-m", "pip", "--version"], check=False, capture_output=True
    ) if done.returncode == 0 else done  # fmt: skip
    if has_pip.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
    return has_pip.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
