"""Connect to a service of the host, send it a patient, keep what it says."""

import socket

from kit import tell


def run(inputs, outputs):
    kind, where = inputs.arguments["kind"], inputs.arguments["where"]
    address = {
        "tcp": lambda: (socket.AF_INET, ("127.0.0.1", where)),
        "tcp6": lambda: (socket.AF_INET6, ("::1", where)),
        "abstract": lambda: (socket.AF_UNIX, f"\0{where}"),
        "path": lambda: (socket.AF_UNIX, where),
    }[kind]()
    patient = inputs.table()["name"][3].as_py()

    def connect():
        with socket.socket(address[0], socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(address[1])
            connection.sendall(patient.encode())
            return "sent a patient, got its secret", connection.recv(200).decode()

    tell(outputs, connect)
