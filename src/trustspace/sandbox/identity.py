"""Whom sandboxes run as: a dedicated user when we are root, otherwise ourselves."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Any

from trustspace.errors import CannotIsolate


@dataclass(frozen=True)
class Identity:
    """A user that is not root; ``dedicated`` when it is not the one that the enclave runs as."""

    uid: int
    gid: int
    dedicated: bool

    def drop(self) -> dict[str, Any]:
        """Arguments for subprocess that make a child this user, without any other group."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dedicated else {}


def sandbox_identity(user: str) -> Identity:
    """Find that user as root, else ourselves. Raises CannotIsolate when there is none, or when it is root."""
    if os.geteuid() != 0:
        return Identity(os.getuid(), os.getgid(), dedicated=False)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CannotIsolate(
            "The user {user} does not exist, and sandboxes never run as root.",
            fix="Run `make sandbox` as root once, or run the enclave as an ordinary user.",
            user=user,
        ) from None
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise CannotIsolate(
            "The user {user} is root or in root's group, and sandboxes never run as root.",
            fix="Name an ordinary user.",
            user=user,
        )
    return Identity(entry.pw_uid, entry.pw_gid, dedicated=True)
