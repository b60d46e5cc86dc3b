"""Make this host ready for sandboxes: bubblewrap, the dedicated user, the runtime.

    python tools/setup_sandbox.py

Needs Python 3.11 or later and nothing else, except a pip for building the runtime (the project's virtual
environment has one). Run again, it looks and does nothing. Exit codes: 0 ready; 14 this host cannot
isolate, or we may not make it so (what to do is printed); 1 the runtime could not be built.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    if sys.version_info < (3, 11):
        print("setup: Python 3.11 or later is needed", file=sys.stderr)
        return 1
    sys.path.insert(0, str(REPOSITORY / "src"))
    # What is made here is for another user to read.
    os.umask(0o022)
    from trustspace.errors import CATALOGUE, Code, TrustspaceError
    from trustspace.sandbox import build

    def say(text: str) -> None:
        print(f"sandbox: {text}", flush=True)

    try:
        build.ensure_bubblewrap(say)
        build.ensure_user(say)
        runtime = build.ensure_runtime(REPOSITORY / "requirements" / "runtime.lock", say)
    except TrustspaceError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return CATALOGUE[error.code].exit_code
    say(f"runtime ready in {runtime.path}")
    if importlib.util.find_spec("pyseccomp") is None:
        say("not tried: run this with the project's virtual environment to try a sandbox")
        return 0
    from trustspace.sandbox import doctor

    report = doctor.probe()
    chinese = os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("zh")
    print(report.render("zh" if chinese else "en"), file=sys.stderr if report.tier is None else sys.stdout)
    return 0 if report.tier else CATALOGUE[Code.CANNOT_ISOLATE].exit_code


if __name__ == "__main__":
    sys.exit(main())
