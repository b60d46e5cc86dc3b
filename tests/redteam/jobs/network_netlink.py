"""Ask the kernel for every network address of the machine."""

import socket
import struct

from kit import tell

RTM_GETADDR, REQUEST_DUMP, NEW_ADDRESS, DONE = 22, 0x301, 20, 3


def run(inputs, outputs):
    def ask():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as kernel:
            kernel.send(struct.pack("=IHHIIB3xI", 24, RTM_GETADDR, REQUEST_DUMP, 1, 0, socket.AF_UNSPEC, 0))
            found = 0
            while True:
                said = kernel.recv(65536)
                while said:
                    length, kind = struct.unpack_from("=IH", said)
                    found += kind == NEW_ADDRESS
                    if kind == DONE:
                        return f"{found} addresses of the machine"
                    said = said[(length + 3) & ~3 :]

    tell(outputs, ask)
