"""Open a socket of one family, or try them all."""

import socket

from kit import tell


def run(inputs, outputs):
    kind = inputs.arguments["kind"]

    def vsock():
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server:
            # Any free port, open to the machine that this one is a guest of.
            server.bind((socket.VMADDR_CID_ANY, 0xFFFFFFFF))
            server.listen()
        return "waits for calls from the machine below this one"

    def alg():
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as machine:
            machine.bind(("hash", "sha256"))
        return "drives the kernel's cryptography"

    def every():
        opened = 0
        for family in range(1, 46):
            for style in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                try:
                    socket.socket(family, style).close()
                except OSError:
                    continue
                opened += 1
                break
        return f"{opened} families of protocols" if opened else None

    tell(outputs, {"vsock": vsock, "alg": alg, "every": every}[kind])
