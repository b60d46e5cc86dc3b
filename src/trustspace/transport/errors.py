"""The one place where errors become gRPC statuses, and statuses become errors again.

The template and its details travel beside the status, so that the far side can raise the same error and
show it in its own language. Anything that is not a TrustspaceError leaves as a fixed text with a number to
look up in the server's own log.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from trustspace.errors import BY_CODE, CATALOGUE, Code, TrustspaceError, Unavailable

_KEY = "trustspace-error-bin"
_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_RESERVED = frozenset({"self", "message", "fix"})
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class ServerErrors(grpc.ServerInterceptor):
    """Maps whatever a servicer raises; servicers themselves never touch a status."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler that would run."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/grpc.health"):
            return handler
        method = handler_call_details.method
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _once(handler.unary_unary, method), handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                _once(handler.stream_unary, method), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _many(handler.unary_stream, method), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            _many(handler.stream_stream, method), handler.request_deserializer, handler.response_serializer
        )


def _once(inner: Callable[[Any, grpc.ServicerContext], Any], method: str) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return inner(request, context)
        except Exception as error:
            _abort(context, error, method)

    return call


def _many(inner: Callable[[Any, grpc.ServicerContext], Any], method: str) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from inner(request, context)
        except Exception as error:
            _abort(context, error, method)

    return call


def _abort(context: grpc.ServicerContext, error: Exception, method: str) -> None:
    # The peer went away while we read its stream: there is nobody to tell.
    if isinstance(error, grpc.RpcError):
        context.abort(grpc.StatusCode.CANCELLED, "The caller went away.")
    if not isinstance(error, TrustspaceError):
        number = secrets.token_hex(4)
        _LOG.error("%s failed (%s)", method, number, exc_info=error)
        error = TrustspaceError("The server could not do this (incident {incident}).", incident=number)
    status = getattr(grpc.StatusCode, CATALOGUE[error.code].grpc_status)
    content = {"code": error.code, "message": error.message, "fix": error.fix, "details": error.details}
    context.set_trailing_metadata(((_KEY, json.dumps(content).encode()),))
    context.abort(status, error.public_message)


def _told(value: bytes) -> TrustspaceError | None:
    """The error in a far side's own words, if they are of the form that an honest one sends.

    The far side may lie: a template with more than plain names in it could read this process's memory or
    fill it, and control characters could repaint a terminal.
    """
    try:
        content = json.loads(value)
        kind = BY_CODE[Code(content["code"])]
        message, fix, details = content["message"], content["fix"], dict(content["details"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(text, str) for text in (message, fix, *details)) or _RESERVED & details.keys():
        return None
    if not all(isinstance(detail, str | int) for detail in details.values()):
        return None
    for template in (message, fix):
        if set("{}") & set(_NAME.sub("", template)) or not set(_NAME.findall(template)) <= details.keys():
            return None
    plain = {
        name: _one_line(detail) if isinstance(detail, str) else detail for name, detail in details.items()
    }
    return kind(_one_line(message), fix=_one_line(fix), **plain)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def to_error(error: grpc.RpcError) -> TrustspaceError:
    """The error that the far side raised, or Unavailable when nobody answered."""
    metadata: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == _KEY and len(value) <= 16384:
            told = _told(value)
            if told is not None:
                return told
    status = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable("The server did not answer in time.", fix="Try again.")
    if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unavailable(
            "The server cannot be reached, or one side's certificate is not the other's to accept.",
            fix="Is it running, and is the address right?",
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return BY_CODE[Code.BUDGET_EXHAUSTED]("A message is larger than {limit} bytes.", limit=4 << 20)
    return TrustspaceError("The call ended with status {status}.", status=status.name)


def call(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call a stub and raise our own errors."""
    try:
        return function(*arguments, **named)
    except grpc.RpcError as error:
        raise to_error(error) from None
