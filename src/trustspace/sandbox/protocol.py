"""Messages with descriptors between enclave, launcher and worker: one JSON object for each packet.

The sockets are SOCK_SEQPACKET pairs, so a packet is a message; descriptors travel as SCM_RIGHTS
(unix(7)). Only enclave and launcher send descriptors; a worker's filter has no sendmsg. A conversation
between enclave and worker uses the plain functions alone, which have no place for a descriptor.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MESSAGE_BYTES = 64 << 10
MAX_DESCRIPTORS = 64


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of packet sockets, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError when the other side is gone, ValueError when it is too long."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MESSAGE_BYTES or len(descriptors) > MAX_DESCRIPTORS:
        raise ValueError("message too long")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def send_plain(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send one message without descriptors, through sendto: all that a worker's filter has.

    Raises OSError when the other side is gone (TimeoutError when it does not read), ValueError when the
    message is longer than 64 KiB or has NaN or an infinity in it.
    """
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > MESSAGE_BYTES:
        raise ValueError("message too long")
    sock.send(data, socket.MSG_NOSIGNAL)


def receive_plain(sock: socket.socket) -> dict[str, Any] | None:
    """The next message, from whoever may lie; None when the other side is gone.

    Received through recvfrom(2), which has no room for descriptors: the kernel closes any that come along.
    Raises ValueError for anything but one JSON object (RFC 8259: no NaN) of at most 64 KiB, however deeply
    nested; OSError as the socket does.
    """
    data = sock.recv(MESSAGE_BYTES + 1)
    if not data:
        return None
    if len(data) > MESSAGE_BYTES:
        raise ValueError("message too long")
    try:
        message = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what was received is at fault
    return message


def _refuse_constant(name: str) -> None:
    raise ValueError("not a number")


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors (closed on exec), or None when the other side is gone.

    Raises ValueError for a message that is not one, however deeply nested; its descriptors are closed.
    """
    space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    data, control, flags, _ = sock.recvmsg(MESSAGE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, payload in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("truncated message")
        if not data:
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        try:
            message = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(message, dict):
            raise ValueError("not an object")  # noqa: TRY004 - what was received is at fault
    except ValueError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return message, list(descriptors)
