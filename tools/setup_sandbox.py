"""Make this host ready for sandboxes: bubblewrap, the dedicated user, the runtime.

    python tools/setup_sandbox.py [--user NAME] [--runtime-lock FILE]

``--user`` is whom sandboxes run as when the enclave runs as root (``sandbox_user`` in enclave.toml): two enclaves on
one computer take two, so that neither's jobs run as the other's user.

``--runtime-lock`` builds a runtime of other packages beside the usual one, for jobs with a GPU; an enclave takes it
when it is named (`trustspace enclave serve --runtime DIR`).

Needs Python 3.11 or later and nothing else, except a pip for building the runtime (the project's virtual
environment has one). Run again, it looks and does nothing. Exit codes: 0 ready; 14 this host cannot
isolate, or we may not make it so (what to do is printed); 1 the runtime could not be built.
"""

from __future__ import annotations

import argparse
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
    from trustspace.sandbox.config import DEDICATED_USER, SandboxConfig

    parser = argparse.ArgumentParser(description="Make this host ready for sandboxes.")
    parser.add_argument(
        "--user", default=DEDICATED_USER, help="whom sandboxes run as when the enclave is root"
    )
    parser.add_argument(
        "--runtime-lock",
        type=Path,
        metavar="FILE",
        default=REPOSITORY / "requirements" / "runtime.lock",
        help="another lock file to build the runtime from, such as one with a CUDA build of torch",
    )
    given = parser.parse_args()
    user = given.user

    def say(text: str) -> None:
        print(f"sandbox: {text}", flush=True)

    try:
        build.ensure_bubblewrap(say)
        build.ensure_user(say, user)
        runtime = build.ensure_runtime(given.runtime_lock, say)
    except TrustspaceError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return CATALOGUE[error.code].exit_code
    say(f"runtime ready in {runtime.path}")
    if importlib.util.find_spec("pyseccomp") is None:
        say("not tried: run this with the project's virtual environment to try a sandbox")
        return 0
    from trustspace.sandbox import diagnosis, doctor

    config = SandboxConfig(user=user, runtime=runtime.path)
    reports = doctor.survey(config)
    chinese = os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("zh")
    text = diagnosis.render(reports, config.backend, "zh" if chinese else "en", own=False)
    usable = diagnosis.strongest(reports) is not None
    print(text, file=sys.stdout if usable else sys.stderr)
    return 0 if usable else CATALOGUE[Code.CANNOT_ISOLATE].exit_code


if __name__ == "__main__":
    sys.exit(main())
