"""Become root of an own network, where raw packets are allowed, and talk to that code of the kernel."""

import os
import socket

from kit import call, in_child, tell

NEW_USER, NEW_NET = 0x10000000, 0x40000000


def run(inputs, outputs):
    family = {"raw": socket.AF_INET, "packet": socket.AF_PACKET}[inputs.arguments["kind"]]

    def open_raw():
        call("unshare", NEW_USER | NEW_NET)
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP):
            return f"a raw socket, process of user {os.getuid()}"

    tell(outputs, lambda: in_child(open_raw))
