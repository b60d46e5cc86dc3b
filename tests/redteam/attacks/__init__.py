"""All attacks: one module for each group, with its list ``ATTACKS``."""

from __future__ import annotations

import importlib

from redteam.model import GROUPS, Attack


def collect() -> tuple[Attack, ...]:
    """Every attack, in the order of the table. Raises ValueError when two have the same name."""
    found = [a for group in GROUPS for a in importlib.import_module(f"redteam.attacks.{group}").ATTACKS]
    if len({attack.name for attack in found}) != len(found):
        raise ValueError("two attacks have the same name")
    return tuple(found)
