"""One half of a local pair is a socket too: from it a datagram can be addressed to somebody else."""

import socket

from kit import tell


def run(inputs, outputs):
    where = inputs.arguments["where"]
    patient = inputs.table()["name"][3].as_py().encode()

    def send():
        one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.sendto(patient, where if where.startswith("/") else f"\0{where}")
        return "a patient left through half of a pair"

    tell(outputs, send)
