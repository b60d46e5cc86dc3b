"""Getting data out, or secrets in, over any kind of connection."""

from __future__ import annotations

from redteam import bait
from redteam.arena import Arena
from redteam.model import both, job_attack

NO_NETWORK = both(
    "no call that makes a socket; a network of its own with nothing in it",
    "没有可创建套接字的系统调用；独立且空无一物的网络命名空间",
)
SEND = both("patients' data at once, unreviewed", "未经审查立即拿到患者数据")


def _service(kind: str):
    return lambda arena: {"kind": kind, "where": bait.greeter(arena, kind)}


def _arrived(kind: str, word: bytes = b"patient-3"):
    return lambda arena: any(word in message for message in bait.received(arena, kind))


def _resolver(arena: Arena) -> dict[str, int | bool]:
    return {"port": bait.mailbox(arena, "udp"), "as-name": True}


ATTACKS = [
    job_attack(
        "network/tcp",
        title=both("Connects to a service on this machine over TCP", "用 TCP 连接本机上的服务"),
        wants=SEND,
        defence=NO_NETWORK,
        source="network_stream.py",
        arguments=_service("tcp"),
        loot=True,
    ),
    job_attack(
        "network/tcp6",
        title=both("The same over IPv6", "改用 IPv6 连接"),
        wants=SEND,
        defence=NO_NETWORK,
        source="network_stream.py",
        arguments=_service("tcp6"),
        loot=True,
        cannot={"EADDRNOTAVAIL": both("this machine has no IPv6", "本机没有 IPv6")},
        quick=False,
    ),
    job_attack(
        "network/udp",
        title=both("Sends a UDP datagram with a patient in it", "用 UDP 报文发送一名患者的数据"),
        wants=SEND,
        defence=NO_NETWORK,
        source="network_datagram.py",
        arguments=lambda arena: {"port": bait.mailbox(arena, "udp"), "as-name": False},
        confirm=_arrived("udp"),
    ),
    job_attack(
        "network/dns",
        title=both("Hides a patient in a name and asks a resolver for it", "把患者数据藏进域名去查询"),
        wants=both("a way out where only names may be looked up", "在只允许查域名的环境里带出数据"),
        defence=NO_NETWORK,
        source="network_datagram.py",
        arguments=_resolver,
        confirm=_arrived("udp", b"patient-3\x08attacker"),
    ),
    job_attack(
        "network/cloud-metadata",
        title=both("Asks for the machine's credentials over HTTP", "用 HTTP 索取云主机的凭据"),
        wants=both("the rights of the machine itself", "主机自身的权限"),
        defence=NO_NETWORK,
        source="network_metadata.py",
        arguments=lambda arena: {"port": bait.metadata(arena)},
        loot=True,
        quick=False,
    ),
    job_attack(
        "network/raw",
        title=both("Makes raw IP packets as root of an own network", "在自建网络里以 root 发送原始 IP 包"),
        wants=both("rarely tested code of the kernel", "触及内核中少有人测的代码"),
        defence=both("no new user namespaces, no sockets", "不可新建用户命名空间，也没有套接字"),
        source="network_raw.py",
        arguments={"kind": "raw"},
        cannot={"EPERM": both("this host forbids user namespaces", "本机禁止用户命名空间")},
        quick=False,
    ),
    job_attack(
        "network/packet",
        title=both("Opens a packet socket the same way", "以同样方式打开链路层套接字"),
        wants=both("a known door to root (CVE-2020-14386)", "已知的提权入口（CVE-2020-14386）"),
        defence=both("no new user namespaces, no sockets", "不可新建用户命名空间，也没有套接字"),
        source="network_raw.py",
        arguments={"kind": "packet"},
        cannot={
            "EPERM": both("this host forbids user namespaces", "本机禁止用户命名空间"),
            "EAFNOSUPPORT": both("this kernel has no packet sockets", "内核没有链路层套接字"),
        },
        quick=False,
    ),
    job_attack(
        "network/vsock",
        title=both("Listens to the machine below a virtual one", "监听来自虚拟化宿主的连接"),
        wants=both("a way out that no firewall sees", "防火墙看不见的出口"),
        defence=both("no socket of any family", "任何协议族的套接字都不可用"),
        source="network_family.py",
        arguments={"kind": "vsock"},
        cannot={"EAFNOSUPPORT": both("this kernel has no vsock", "内核没有 vsock")},
    ),
    job_attack(
        "network/netlink",
        title=both("Asks the kernel for the machine's addresses", "向内核查询本机全部网络地址"),
        wants=both("a map of the hospital's network", "医院网络的布局"),
        defence=both("no socket of any family", "任何协议族的套接字都不可用"),
        source="network_netlink.py",
    ),
    job_attack(
        "network/kernel-crypto",
        title=both("Drives the kernel's cryptography (AF_ALG)", "调用内核加密接口（AF_ALG）"),
        wants=both("rarely tested code of the kernel", "触及内核中少有人测的代码"),
        defence=both("no socket of any family", "任何协议族的套接字都不可用"),
        source="network_family.py",
        arguments={"kind": "alg"},
        cannot={"EAFNOSUPPORT": both("this kernel is built without AF_ALG", "内核未编入 AF_ALG")},
        quick=False,
    ),
    job_attack(
        "network/every-family",
        title=both("Tries every family of protocols there is", "逐一尝试所有协议族"),
        wants=both("one that everybody forgot", "找出被遗忘的那一种"),
        defence=both("no socket of any family", "任何协议族的套接字都不可用"),
        source="network_family.py",
        arguments={"kind": "every"},
    ),
    job_attack(
        "network/unix-abstract",
        title=both("Talks to a service at an abstract local address", "连接本机的抽象 UNIX 套接字服务"),
        wants=both("desktop, container and database services", "桌面、容器与数据库服务"),
        defence=NO_NETWORK,
        source="network_stream.py",
        arguments=_service("abstract"),
        loot=True,
    ),
    job_attack(
        "network/unix-path",
        title=both("Talks to a service at a path of the host", "连接宿主机路径上的 UNIX 套接字服务"),
        wants=both("a container engine's socket, which is root", "容器引擎的套接字（等同 root）"),
        defence=both("no sockets, and no path of the host is mounted", "没有套接字，也不挂载宿主机路径"),
        source="network_stream.py",
        arguments=_service("path"),
        loot=True,
        quick=False,
    ),
    job_attack(
        "network/pair-to-abstract",
        title=both(
            "Addresses half of a local pair to an abstract address", "用本地套接字对的一端发往抽象地址"
        ),
        wants=both("a socket although none can be made", "绕开“不能创建套接字”"),
        defence=both(
            "nothing can be sent to an address, only to the pair's other half", "只能发给另一端，不能指定地址"
        ),
        source="network_borrowed.py",
        arguments=lambda arena: {"where": bait.mailbox(arena, "abstract")},
        confirm=_arrived("abstract"),
    ),
    job_attack(
        "network/pair-to-path",
        title=both(
            "Addresses half of a local pair to a path of the host", "用本地套接字对的一端发往宿主机路径"
        ),
        wants=both("the host's log socket", "宿主机的日志套接字"),
        defence=both(
            "nothing can be sent to an address; the path is not there", "不能指定地址，路径也不存在"
        ),
        source="network_borrowed.py",
        arguments=lambda arena: {"where": bait.mailbox(arena, "path")},
        confirm=_arrived("path"),
        quick=False,
    ),
]
