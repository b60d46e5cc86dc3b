"""Imported early by a sandbox that waits: holds more memory than some tasks may use."""

HELD = b"\1" * (600 << 20)
