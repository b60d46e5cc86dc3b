"""Imported early by a sandbox that waits: cannot be."""

raise ImportError("the canary in the import")
