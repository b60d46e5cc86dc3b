from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExchangeRequest(_message.Message):
    __slots__ = ("job", "run", "round", "attempt", "phase", "envelope", "data", "wait_milliseconds")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    WAIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    run: str
    round: int
    attempt: int
    phase: str
    envelope: bytes
    data: bytes
    wait_milliseconds: int
    def __init__(self, job: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., phase: _Optional[str] = ..., envelope: _Optional[bytes] = ..., data: _Optional[bytes] = ..., wait_milliseconds: _Optional[int] = ...) -> None: ...

class ExchangeReply(_message.Message):
    __slots__ = ("status", "envelopes", "missing", "data", "round", "attempt")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    status: str
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    missing: _containers.RepeatedScalarFieldContainer[str]
    data: bytes
    round: int
    attempt: int
    def __init__(self, status: _Optional[str] = ..., envelopes: _Optional[_Iterable[bytes]] = ..., missing: _Optional[_Iterable[str]] = ..., data: _Optional[bytes] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class ContributeHeader(_message.Message):
    __slots__ = ("job", "run", "round", "attempt", "envelope", "total_bytes", "shares")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    job: str
    run: str
    round: int
    attempt: int
    envelope: bytes
    total_bytes: int
    shares: bool
    def __init__(self, job: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., envelope: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., shares: _Optional[bool] = ...) -> None: ...

class ContributeChunk(_message.Message):
    __slots__ = ("first", "data")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    first: ContributeHeader
    data: bytes
    def __init__(self, first: _Optional[_Union[ContributeHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ContributeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SumRequest(_message.Message):
    __slots__ = ("job", "run", "round", "attempt")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job: str
    run: str
    round: int
    attempt: int
    def __init__(self, job: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class SumChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ContributionChunk(_message.Message):
    __slots__ = ("member", "data")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    member: int
    data: bytes
    def __init__(self, member: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...
