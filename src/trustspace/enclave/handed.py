"""What goes into a sandbox, as memory that is closed afterwards, and what is picked from what comes out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from trustspace.jobs.container import RawArtifact
from trustspace.sandbox import memory


def data_of(artifacts: Sequence[RawArtifact], name: str) -> bytes:
    """The content of the artifact of that name. Raises StopIteration where there is none."""
    return next(artifact.data for artifact in artifacts if artifact.name == name)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """``descriptor``, which is closed at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sealed(data: bytes, name: str) -> AbstractContextManager[int]:
    """``data`` in sealed memory, which is closed at the end. ``name`` shows in /proc."""
    return closing(memory.sealed(name, data))
