"""Imported early by a sandbox that waits: takes one wall's place with something that gives way."""

import socket


class Anything(socket.socket):
    """Connects to nothing, and refuses nothing."""

    def __init__(self, family=-1, kind=-1, proto=-1, fileno=None):
        super().__init__(socket.AF_UNIX if fileno is None else family, kind, proto, fileno)
        self.close()

    def __new__(cls, *arguments, **options):
        return object()


socket.socket = Anything
