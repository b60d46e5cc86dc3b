"""``enclave.toml``: how this enclave's sandboxes are made; no secrets in it, read once, before anything else starts."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trustspace.errors import InvalidInput
from trustspace.sandbox.config import BACKENDS, DEDICATED_USER, SandboxConfig

FILE = "enclave.toml"
DEFAULT_TEXT = f"""\
# How this enclave's sandboxes are made. `trustspace doctor` says what this computer can give.

# What walls them in: {", ".join(BACKENDS)}. A computer that cannot give it is refused; nothing weaker is taken instead.
sandbox = "namespaces"
# Whom they run as when the enclave runs as root. Two enclaves on one computer take two users.
sandbox_user = "{DEDICATED_USER}"
# The weakest tier to start with at all ("any" takes what the backend gives); a grant may demand more.
minimum_tier = "any"
# How many wait with torch imported, for a start in milliseconds; about 160 MiB of memory each.
warm = 1
# Threads for each job's numerical libraries. One makes results the same on every computer.
threads = 1
# The GPUs that jobs may ask for, by number, as in [0]: one job at a time each. Nothing else may use them.
gpus = []
"""


@dataclass(frozen=True)
class Settings:
    """What ``enclave.toml`` says; what it leaves out is as in DEFAULT_TEXT."""

    sandbox: str = "namespaces"
    sandbox_user: str = DEDICATED_USER
    minimum_tier: str = "any"
    warm: int = 1
    threads: int = 1
    gpus: tuple[int, ...] = ()

    def config(self, home: Path, runtime: Path | None) -> SandboxConfig:
        """The configuration of this enclave's launcher. Raises InvalidInput for a value that cannot be."""
        return SandboxConfig(
            runtime=runtime, app_directory=home / "app", backend=self.sandbox, user=self.sandbox_user,
            minimum_tier=self.minimum_tier, warm=self.warm, threads=self.threads, gpus=self.gpus,
        )  # fmt: skip


def read_settings(home: Path) -> Settings:
    """The settings in an enclave's home; the defaults where there is no file.

    Raises:
        InvalidInput: it cannot be read, names a setting that does not exist, or one of the wrong kind.

    """
    try:
        with (home / FILE).open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError):
        raise InvalidInput(
            "The file {path} is not valid TOML.", fix="Compare it with the one of a new enclave.", path=FILE
        ) from None
    known = {each.name: type(each.default) for each in fields(Settings)}
    for name, said in content.items():
        if name not in known:
            raise InvalidInput(
                "The file {path} has a setting {name}, which does not exist.",
                fix="Use these: {known}.", path=FILE, name=name, known=", ".join(known),
            )  # fmt: skip
        if isinstance(said, list) and all(type(each) is int for each in said):
            content[name] = tuple(said)
        _check_kind(name, content[name], known[name])
    return Settings(**content)


def _check_kind(name: str, value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise InvalidInput(
            "The setting {name} in {path} is of the wrong kind.",
            fix="Give text in quotes, a whole number or a list, as in a new enclave's file.", name=name, path=FILE,
        )  # fmt: skip
