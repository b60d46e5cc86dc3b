"""Channels and servers with the same bounds everywhere: message sizes, keep-alive, deadlines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from trustspace.errors import InvalidInput, Unavailable
from trustspace.transport.errors import ServerErrors

MAX_MESSAGE_BYTES = 4 << 20
# What a server may answer with: the largest round has 256 messages of 128 KiB, and a sum of 1 MiB.
MAX_REPLY_BYTES = 34 << 20
CALL_SECONDS = 30.0
STREAM_SECONDS = 3600.0
# What a side takes of a stream before it is read: enough for 500 Mbit/s over 30 ms, and no more. Left to itself,
# gRPC makes it as large as a fast network can fill, and a server's memory grows with what is sent to it.
WINDOW_BYTES = 2 << 20
_OPTIONS = [
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
]
_CLIENT_OPTIONS = [
    *_OPTIONS,
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]
_SERVER_OPTIONS = [
    *_OPTIONS,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_REPLY_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_concurrent_streams", 256),
]


@dataclass(frozen=True)
class Identity:
    """A transport key and the certificate chain that is shown with it, PEM."""

    key: bytes
    certificate: bytes


def connect(address: str, authority: bytes, identity: Identity | None, server_name: str = "") -> grpc.Channel:
    """A channel to a server whose certificate chains to ``authority`` (or is it)."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=authority,
        private_key=identity.key if identity else None,
        certificate_chain=identity.certificate if identity else None,
    )
    options = list(_CLIENT_OPTIONS)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))  # type: ignore[arg-type]
    return grpc.secure_channel(address, credentials, options=options)


def serve(
    address: str,
    identity: Identity,
    client_authority: bytes | None,
    register: Callable[[grpc.Server], None],
    *,
    services: tuple[str, ...],
    threads: int = 48,
) -> tuple[grpc.Server, str]:
    """Start a server and return it with the address it got. Without ``client_authority`` anybody may connect.

    Raises:
        Unavailable: the address cannot be bound.

    """
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rpc"),
        interceptors=[ServerErrors()],
        options=_SERVER_OPTIONS,
    )
    register(server)
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    for service in ("", *services):
        status.set(service, health_pb2.HealthCheckResponse.SERVING)
    credentials = grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)],
        root_certificates=client_authority,
        require_client_auth=client_authority is not None,
    )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput("The address {address} is not host:port.", address=address)
    try:
        bound = server.add_secure_port(address, credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise Unavailable(
            "The address {address} cannot be bound.", fix="Is it in use already?", address=address
        )
    server.start()
    return server, f"{host}:{bound}"
