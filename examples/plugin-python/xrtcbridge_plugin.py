"""What a connector plugin of xrtcbridge in Python needs: classes to extend, and serve, which speaks with the bridge.

Keep this file and connector_pb2.py, made of the contract by `protoc --python_out=. connector.proto`, beside your
own; newer ones may replace them. They need grpcio, protobuf and cryptography.
"""

import base64
import contextlib
import copy
import datetime
import json
import logging
import math
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple, Type

import grpc

import connector_pb2 as pb

COOKIE = ("XRTCBRIDGE_PLUGIN", "5d0fd9d2e5a04e0c8c9a6a2f3c7b1e90")
VERSION = "1"  # of the contract
OVERHEAD = 1 << 20  # what a gRPC message may have beyond the limit of a batch
THREADS = 256  # calls at once; each source that waits for a message takes two


@dataclass
class Message:
    payload: bytes = b""
    topic: str = ""
    headers: Dict[str, str] = field(default_factory=dict)
    time: Optional[datetime.datetime] = None  # with a time zone; None is unknown
    id: str = ""  # set by a source whose system gives a message the same one whenever it comes again, and never to another
    refused: str = ""  # set by a source that cannot hand the message on whole: why not; the pipeline's on_error has it


class Permanent(Exception):
    """An error that no other instance would mend: it stops the pipeline."""


class Interrupted(Exception):
    """What read may raise when ctx.interrupted."""

    def __init__(self):
        super().__init__("the call was interrupted")


class SettingError(Exception):
    """Says what is wrong with the setting key, and what to do."""

    def __init__(self, key, text):
        super().__init__(text)
        self.key = key


class Context:
    """Tells a call that it should return soon with what it has done so far: when the bridge stops, and when the call has taken limits.call of the plugin
    (30 s). One that does not return within five seconds is taken for one that hangs, and the plugin is killed and started again."""

    def __init__(self):
        self._event = threading.Event()

    @property
    def interrupted(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits, at most that long, and returns whether the call is interrupted."""
        return self._event.wait(seconds)


@dataclass
class Env:
    pipeline: str = ""
    instance: str = ""  # name of the place in the pipeline, the same after each restart
    max_batch: int = 1024  # the most messages that read may return
    checkpoint: bytes = b""  # what save kept last


@dataclass
class Key:
    """One key of settings. The bridge refuses other keys and values, and says where in the file they are."""

    type: str = ""  # a text, or bool, integer, number, duration (for duration), size (for size), secret, url
    default: Any = None  # what settings has if nothing is set; None: nothing
    text: str = ""  # what it is for, a line
    required: bool = False
    enum: Tuple[str, ...] = ()  # the texts that are allowed; empty: any
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    short: bool = False  # a lone value in place of the mapping is this key's
    path: bool = False  # a text that is a path: it comes complete, since one in a file is relative to the file's folder
    own: bool = False  # a text that must differ between instances: if it comes from connections:, - and the instance follow it


class Instance:
    """What source, sink and step have in common. An instance is opened once; after an error the bridge opens another."""

    keys: Dict[str, Key] = {}  # of settings, by name; with dots for nesting, [] behind a list and {} behind a mapping with keys of the user's: tls.ca, headers{}
    delivery = ""  # how sure delivery is, in a sentence, for people
    guarantee = ""  # the same for the bridge, with default settings: "at most once", "at least once" or "once"; empty: unknown
    settings: Dict[str, Any]
    env: Env
    log: logging.LoggerAdapter

    @classmethod
    def complete(cls, settings: Dict[str, Any]) -> Dict[str, Any]:
        """Returns settings with the defaults of what is not in them."""
        whole = copy.deepcopy(settings)
        for name, key in cls.keys.items():
            *outer, last = name.split(".")
            if key.default is None or any(step[-1] in "]}" for step in outer):
                continue
            at = whole
            for step in outer:
                at = at.setdefault(step, {})
            at.setdefault(last.rstrip("[]{}"), copy.deepcopy(key.default))
        return whole

    @classmethod
    def check(cls, settings: Dict[str, Any]) -> None:
        """Raises SettingError if something is wrong with settings, beyond what keys says."""

    def open(self) -> None:
        """Connects. If it raises, close is not called."""

    def close(self) -> None:
        """Frees everything."""

    def __init__(self, settings: Optional[Dict[str, Any]] = None, env: Optional[Env] = None):
        """For tests: an instance with default settings but for those given, not open yet."""
        self.settings = self.complete(settings or {})
        self.env = env or Env()
        self.log = logging.LoggerAdapter(
            logging.getLogger(type(self).__name__), {"pipeline": self.env.pipeline, "instance": self.env.instance}
        )
        self._lock = threading.Lock()
        self._dropped = 0


class Source(Instance):
    checkpoints = False  # whether it uses save
    stable_ids = False  # whether a message that comes again has the same id, also after a restart
    ends = False  # whether its input has an end
    max_unacked = 0  # after how many messages its system waits for an ack; 0: never

    def read(self, ctx: Context) -> List[Message]:
        """Returns the messages that are there now, and waits while there is none: by ctx.wait, or in pieces of less than a
        second, until ctx.interrupted. Then it returns [] or raises Interrupted, loses nothing by that, and is called again if the bridge goes on.
        Raises EOFError when finished. Is never called twice at once. After any other error the bridge opens another instance; about
        a single message, say so in its refused."""
        raise NotImplementedError

    def dropped(self, n: int) -> None:
        """Counts messages that were received and had to be dropped, or are known to be lost."""
        with self._lock:
            self._dropped += n

    def ack(self, messages: List[Message], error: Optional[Exception]) -> None:
        """Is told once, in order, of all messages that read returned: delivered if error is None."""

    def save(self, checkpoint: bytes) -> None:
        """Keeps a checkpoint, and returns when it is safe. The next open finds it in env.checkpoint."""
        self._saver.save(checkpoint)

    def progress(self) -> Tuple[int, int]:
        """How much of the input has been read, and of how much, in bytes. 0 is unknown."""
        return 0, 0


@dataclass
class Result:
    """What became of the messages of a write."""

    settled: Optional[int] = None  # how many at the front are done with: delivered, but for those named below; None: all
    refused: Dict[int, str] = field(default_factory=dict)  # index of each that the sink can never take, and why
    omitted: List[int] = field(default_factory=list)  # indices of those that were left out as configured
    error: Optional[BaseException] = None  # why not all are settled


class Sink(Instance):
    needs_id = False  # whether every message must have an id

    def write(self, ctx: Context, messages: List[Message]) -> Optional[Result]:
        """Delivers the messages in order and returns when that is certain: nothing if all are delivered, or else a Result. A message that can
        never be delivered is refused there, and the others are delivered. An error is about the instance, of which the bridge opens another; one that
        is raised says that no message is settled. When ctx.interrupted, return Result(settled) with what is done so far."""
        raise NotImplementedError


class Output:
    """Takes what a step says of the messages of one call, by their index. It must say something of each, once: pass_, emit, drop, refuse or hold.

    A step may hold messages and let go later of what it made of them, by add. What is held is owed: its source hears of delivery when all that was
    made of it is delivered, and it comes again if the plugin or the bridge dies. So a step that holds says by release what it holds no more, and
    lets go of everything when last is true. For tests: Output(messages), and then look at messages, dropped, held and refused."""

    def __init__(self, given: List[Message], call: int = 1, last: bool = False, limit: float = float("inf")):
        self.call = call  # number of this call; numbers grow, with gaps
        self.last = last  # whether nothing comes after this call, since the input has ended or the pipeline stops
        self.messages: List[Message] = []  # what goes on
        self.dropped: List[int] = []
        self.held: List[int] = []
        self.refused: Dict[int, str] = {}
        self.released = 0  # nothing is held of calls up to that number
        self.wake_after: Optional[float] = None  # seconds
        self._given, self._limit, self._told = given, limit, bytearray(len(given))
        self._origins: List[int] = []
        self._passed: List[int] = []
        self._emitted: List[Message] = []

    def _tell(self, i: int) -> None:
        if not 0 <= i < len(self._told) or self._told[i]:
            what = "twice of" if 0 <= i < len(self._told) else "of"
            raise Permanent(f"it speaks {what} message {i} of {len(self._told)}: the step is broken")
        self._told[i] = 1

    def pass_(self, i: int) -> None:
        """Lets message i go on as it is."""
        self._tell(i)
        self._passed.append(i)
        self._origins.append(i + 1)
        self.messages.append(self._given[i])

    def emit(self, i: int, message: Message) -> None:
        """Lets a message go on in place of message i, whose identity it has. More than once, if more is made of it."""
        if not 0 <= i < len(self._told) or not self._told[i]:
            # Only a large one is worth a close look.
            if self._limit - len(message.payload) < 65536 and pack([message], self._limit)[1] == 0:
                self.refuse(i, f"the step made of it {_too_large(message, self._limit)}")
                return
            self._tell(i)
        self._emit(i + 1, message)

    def _emit(self, origin: int, message: Message) -> None:
        self._origins.append(origin)
        self._emitted.append(message)
        self.messages.append(message)

    def drop(self, i: int) -> None:
        """Leaves message i out, as configured. It counts as filtered."""
        self._tell(i)
        self.dropped.append(i)

    def refuse(self, i: int, reason: str) -> None:
        """Says that the step can never process message i. The pipeline's on_error says what becomes of it."""
        self._tell(i)
        self.refused[i] = reason

    def hold(self, i: int) -> None:
        """Says that the step has kept message i, or what it needs of it."""
        self._tell(i)
        self.held.append(i)
        self.released = min(self.released, self.call - 1)

    def add(self, message: Message) -> None:
        """Lets go of a message that was made of messages held, or is one of them."""
        self._emit(0, message)

    def release(self, call: int) -> None:
        """Says that nothing is held any more that was held in calls up to that number; of this one, as far as it has held by now."""
        self.released = max(self.released, min(call, self.call))

    def wake(self, seconds: float) -> None:
        """Asks for a call without messages after that time. Replaces what was asked for before; 0 asks for none."""
        self.wake_after = seconds

    def _response(self):
        batch, n = pack(self._emitted, self._limit)
        if n < len(self._emitted):
            raise Permanent(f"the step made more of a batch than {self._limit} bytes: set max_batch of the pipeline lower")
        r = pb.ProcessResponse(origins=self._origins, passed=self._passed, batch=batch, refused=_refusals(self.refused),
                               dropped=sorted(self.dropped), held=sorted(self.held), released=self.released)
        if self.wake_after is not None:
            r.wake_ms = min(math.ceil(max(0, self.wake_after) * 1000), 2**32 - 1)
        return r


class Step(Instance):
    holds = False  # whether it may hold messages

    def process(self, ctx: Context, messages: List[Message], out: Output) -> None:
        """Says by out what becomes of each message. Is called without messages when out.wake asked for it, and at the end with
        what a step in front lets go of. After an error the bridge opens another instance, and what is not delivered comes again,
        message by message; one at which it fails on_error's retry.max times is refused. A step that merely dislikes a message drops or refuses it."""
        raise NotImplementedError


@dataclass
class Connector:
    name: str  # the type in YAML: a lower-case letter, then letters, digits, - and _
    summary: str = ""
    example: str = ""  # a commented YAML document with every setting
    source: Optional[Type[Source]] = None
    sink: Optional[Type[Sink]] = None
    step: Optional[Type[Step]] = None


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: str) -> float:
    """Seconds of a duration like "10s" or "1h30m"."""
    if not re.fullmatch(r"0|(\d+(\.\d*)?(h|ms|m|s|us|µs|ns))+", text):
        raise ValueError(f'"{text}" is not a duration, which looks like 10s or 1h30m')
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)(h|ms|m|s|us|µs|ns)", text))


def size(text: str) -> int:
    """Bytes of a size like "512", "64KiB" or "100MB"."""
    m = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(?:([kmgt])(i?))?b?\s*", text.lower())
    if not m:
        raise ValueError(f'"{text}" is not a size, which looks like 512, 64KiB or 100MB')
    n, unit, binary = m.groups()
    return int(float(n) * (1024 if binary else 1000) ** (" kmgt".index(unit) if unit else 0))


# Batches: see Batch in connector.proto.

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _nanoseconds(time: Optional[datetime.datetime]) -> int:
    if time is None:
        return 0
    d = time - _EPOCH
    return (d.days * 86400 + d.seconds) * 1_000_000_000 + d.microseconds * 1000


def pack(messages: List[Message], limit: float = float("inf")) -> Tuple[Any, int]:
    """Packs the messages at the front that take at most limit bytes; returns the Batch and how many they are."""
    names: Dict[bytes, int] = {}
    payloads, topics, counts, header_names, values, times, ids = [], [], [], [], [], [], []
    total = 0
    for m in messages:
        topic, id_, headers = _bytes(m.topic), _bytes(m.id), [(_bytes(k), _bytes(v)) for k, v in m.headers.items()]
        total += 30 + len(m.payload) + len(id_) + (0 if topic in names else 6 + len(topic))
        total += sum(16 + len(k) + len(v) for k, v in headers)
        if total > limit:
            break
        payloads.append(m.payload)
        topics.append(names.setdefault(topic, len(names)))
        ids.append(id_)
        counts.append(len(headers))
        for k, v in headers:
            header_names.append(names.setdefault(k, len(names)))
            values.append(v)
        times.append(_nanoseconds(m.time))
    b = pb.Batch(payloads=b"".join(payloads), payload_sizes=[len(p) for p in payloads])
    if any(len(name) for name in names):
        b.names.extend(names)
        b.topics.extend(topics)
    if header_names:
        b.header_counts.extend(counts)
        b.header_names.extend(header_names)
        b.header_values = b"".join(values)
        b.header_value_sizes.extend(len(v) for v in values)
    if any(times):
        b.times.extend(t - before for t, before in zip(times, [0] + times))
    if any(ids):
        b.ids = b"".join(ids)
        b.id_sizes.extend(len(i) for i in ids)
    return b, len(payloads)


def _cut(data: bytes, sizes, what: str) -> List[bytes]:
    pieces, at = [], 0
    for n in sizes:
        pieces.append(data[at : at + n])
        at += n
    if at > len(data):
        raise ValueError(f"unpack batch: {what} end too early")
    return pieces


def unpack(b) -> List[Message]:
    """Unpacks a Batch. ValueError says that it was not packed as it must be."""
    n = len(b.payload_sizes)
    for what in ("topics", "header_counts", "times", "id_sizes"):
        if len(getattr(b, what)) not in (0, n):
            raise ValueError(f"unpack batch: {what} has {len(getattr(b, what))} entries for {n} messages")
    if len(b.header_names) != len(b.header_value_sizes) or sum(b.header_counts) > len(b.header_names):
        raise ValueError("unpack batch: headers end too early")
    messages = [Message(payload) for payload in _cut(b.payloads, b.payload_sizes, "payloads")]
    names = [_text(name) for name in b.names]
    values = _cut(b.header_values, b.header_value_sizes, "header values")
    try:
        for m, topic in zip(messages, b.topics):
            m.topic = names[topic]
        h = 0
        for m, count in zip(messages, b.header_counts):
            m.headers = {names[b.header_names[i]]: _text(values[i]) for i in range(h, h + count)}
            h += count
    except IndexError:
        raise ValueError("unpack batch: there is no such name") from None
    at = 0
    for m, delta in zip(messages, b.times):
        at += delta
        m.time = _EPOCH + datetime.timedelta(microseconds=at // 1000) if at else None
    for m, id_ in zip(messages, _cut(b.ids, b.id_sizes, "ids")):
        m.id = _text(id_)
    return messages


def _too_large(m: Message, limit: float) -> str:
    topic = f' on topic "{m.topic}"' if m.topic else ""
    size = len(m.payload) + sum(len(_bytes(t)) for t in (m.topic, m.id, *m.headers, *m.headers.values()))
    return (f"a message of {size} bytes{topic} is larger than what fits between the bridge and a plugin, {limit} bytes; "
            "limits: {message: …} of the plugin sets that")


def _refusals(refused: Dict[int, str]):
    most = OVERHEAD // 8 // max(1, len(refused))  # characters, of four bytes at most, so that the texts take half of it
    return [pb.Refusal(index=i, text=str(refused[i])[:most]) for i in sorted(refused)]


def _error(e: BaseException):
    """The Error that an exception becomes."""
    text = str(e)[:16384]
    if isinstance(e, EOFError):
        return pb.Error(kind=pb.Error.EOF, text=text or "EOF")
    if isinstance(e, Permanent):
        return pb.Error(kind=pb.Error.PERMANENT, text=text)
    if isinstance(e, Interrupted):
        return pb.Error(kind=pb.Error.CANCELED, text=text)
    logging.error("%s: %s", type(e).__name__, "".join(traceback.format_exception(e)))
    return pb.Error(text=text or type(e).__name__)


class _Saver:
    """Hands checkpoints to NextCheckpoint, and waits until they are kept."""

    def __init__(self):
        self.cond = threading.Condition()
        self.turn = threading.Lock()
        self.number, self.data, self.settled, self.outcome, self.closed = 0, b"", 0, "", False

    def save(self, data: bytes) -> None:
        with self.turn, self.cond:
            self.number += 1
            self.data = bytes(data)
            self.cond.notify_all()
            while self.settled != self.number:
                if self.closed:
                    raise RuntimeError("save checkpoint: the instance is closed")
                self.cond.wait()
            if self.outcome:
                raise RuntimeError(f"save checkpoint: {self.outcome}")

    def next(self, request):
        with self.cond:
            if request.kept == self.number and self.settled != self.number:
                self.settled, self.outcome = self.number, request.error.text if request.HasField("error") else ""
                self.cond.notify_all()
            self.cond.wait_for(lambda: self.closed or self.settled != self.number, request.wait_ms / 1000)
            if self.settled != self.number:
                return pb.NextCheckpointResponse(number=self.number, checkpoint=self.data)
            return pb.NextCheckpointResponse()

    def close(self) -> None:
        with self.cond:
            self.closed = True
            self.cond.notify_all()


class _Open:
    """An open instance with what the calls need."""

    def __init__(self, it: Instance, limit: int):
        self.it, self.limit = it, limit
        self.calls: Dict[int, Context] = {}
        self.acks: Dict[int, List[Message]] = {}
        self.last = 0
        self.rest: List[Message] = []  # read and not fetched
        self.after: Optional[BaseException] = None  # raised by read after rest
        self.read_lock = threading.Lock()

    def dropped(self) -> int:
        with self.it._lock:
            n, self.it._dropped = self.it._dropped, 0
            return n


_LEVELS = {"": pb.UNKNOWN, "at most once": pb.AT_MOST_ONCE, "at least once": pb.AT_LEAST_ONCE, "once": pb.ONCE}


class _Servicer:
    """Answers the calls of the bridge."""

    def __init__(self, connectors: Tuple[Connector, ...], version: str, limit: int):
        self.connectors = {c.name: c for c in connectors}
        self.version, self.limit = version, limit
        self.open: Dict[int, _Open] = {}
        self.last = 0
        self.lock = threading.Lock()

    def _class(self, request) -> Type[Instance]:
        c = self.connectors.get(request.connector)
        cls = c and {pb.SOURCE: c.source, pb.SINK: c.sink, pb.STEP: c.step}.get(request.role)
        if not cls:
            raise LookupError(f'this plugin has no connector "{request.connector}" for role {request.role}')
        return cls

    def _instance(self, number: int) -> _Open:
        with self.lock:
            if number not in self.open:
                raise LookupError(f"there is no open instance {number}")
            return self.open[number]

    def Describe(self, request, context):
        def role(cls):
            return cls and pb.RoleInfo(
                settings=[_setting(name, key) for name, key in cls.keys.items()], delivery=cls.delivery, level=_LEVELS[cls.guarantee],
                stable_ids=getattr(cls, "stable_ids", False), ends=getattr(cls, "ends", False),
                max_unacked=getattr(cls, "max_unacked", 0), holds=getattr(cls, "holds", False))

        return pb.DescribeResponse(
            version=self.version,
            connectors=[
                pb.ConnectorInfo(name=c.name, summary=c.summary, example=c.example,
                                 source=role(c.source), sink=role(c.sink), step=role(c.step))
                for c in self.connectors.values()
            ],
        )

    def Check(self, request, context):
        try:
            cls = self._class(request)
            cls.check(cls.complete(json.loads(request.settings)))
        except SettingError as e:
            return pb.CheckResponse(problems=[pb.Problem(key=e.key, text=str(e))])
        except ValueError as e:
            return pb.CheckResponse(problems=[pb.Problem(text=str(e))])
        return pb.CheckResponse()

    def Open(self, request, context):
        cls = self._class(request)
        env = Env(request.pipeline, request.instance, max(1, request.max_batch), request.checkpoint)
        it = cls(json.loads(request.settings), env)
        if isinstance(it, Source):
            it._saver = _Saver()
        try:
            it.open()
            if not context.is_active():  # nobody will close it
                it.close()
                return pb.OpenResponse()
        except Exception as e:
            return pb.OpenResponse(error=_error(e))
        with self.lock:
            self.last += 1
            self.open[self.last] = _Open(it, min(self.limit, request.max_bytes or self.limit))
            return pb.OpenResponse(instance=self.last, needs_id=getattr(it, "needs_id", False),
                                   checkpoints=getattr(it, "checkpoints", False))

    def Read(self, request, context):
        o = self._instance(request.instance)
        with o.read_lock:
            if not o.rest and o.after is None:
                self._fetch(o, request)
            answer = pb.ReadResponse()
            if o.rest:
                batch, n = pack(o.rest[: o.it.env.max_batch], o.limit)
                refused = {i: m.refused for i, m in enumerate(o.rest[:n]) if m.refused}
                if n == 0:  # the first is too large: send what can be sent of it
                    m = o.rest[0]
                    refused = {0: m.refused or _too_large(m, o.limit)}
                    batch, n = pack([replace(m, payload=b"")], o.limit)
                    if n == 0:
                        batch, n = pack([Message(time=m.time)])
                with self.lock:
                    o.last += 1
                    o.acks[o.last] = o.rest[:n]
                answer.batch.CopyFrom(batch)
                answer.batch_id = o.last
                answer.refused.extend(_refusals(refused))
                o.rest = o.rest[n:]
            if not o.rest and o.after is not None and not answer.refused:
                answer.error.CopyFrom(_error(o.after))
                o.after = None
            answer.dropped = o.dropped()
            answer.bytes_done, answer.bytes_total = o.it.progress()
            return answer

    def _fetch(self, o: _Open, request) -> None:
        with self._call(o, request) as ctx:
            try:
                o.rest = list(o.it.read(ctx) or [])
            except Exception as e:
                o.after = e

    def Ack(self, request, context):
        o = self._instance(request.instance)
        with self.lock:
            messages = o.acks.pop(request.batch_id, None)
        if messages is None:
            return pb.AckResponse(error=pb.Error(text=f"batch {request.batch_id} is not waiting for an ack"))
        try:
            error = RuntimeError(request.error.text) if request.HasField("error") else None
            n = request.settled if error else len(messages)
            for part, outcome in ((messages[:n], None), (messages[n:], error)):
                if part:
                    o.it.ack(part, outcome)
        except Exception as e:
            return pb.AckResponse(error=_error(e), dropped=o.dropped())
        return pb.AckResponse(dropped=o.dropped())

    def NextCheckpoint(self, request, context):
        return self._instance(request.instance).it._saver.next(request)

    @contextlib.contextmanager
    def _call(self, o: _Open, request):
        """Gives a context that Interrupt ends."""
        ctx = o.calls[request.call] = Context()
        try:
            yield ctx
        finally:
            o.calls.pop(request.call, None)

    def Write(self, request, context):
        o, messages = self._instance(request.instance), unpack(request.batch)
        with self._call(o, request) as ctx:
            try:
                r = o.it.write(ctx, messages) or Result()
            except Exception as e:
                r = Result(0, error=e)
            settled = len(messages) if r.settled is None else r.settled
            if settled < len(messages) and r.error is None:
                r.error = Interrupted() if ctx.interrupted else RuntimeError(f"it settled {settled} of {len(messages)} messages and does not say why")
        return pb.WriteResponse(settled=settled, refused=_refusals(r.refused), omitted=sorted(r.omitted), error=r.error and _error(r.error))

    def Process(self, request, context):
        o, messages = self._instance(request.instance), unpack(request.batch)
        out = Output(messages, request.sequence, request.last, o.limit)
        with self._call(o, request) as ctx:
            try:
                o.it.process(ctx, messages, out)
                return out._response()
            except Exception as e:
                return pb.ProcessResponse(error=_error(e))

    def Interrupt(self, request, context):
        with self.lock:
            o = self.open.get(request.instance)
        ctx = o and o.calls.get(request.call)
        if ctx:
            ctx._event.set()
        return pb.InterruptResponse()

    def Close(self, request, context):
        try:
            o = self._instance(request.instance)
        except LookupError:
            return pb.CloseResponse()
        for ctx in list(o.calls.values()):
            ctx._event.set()
        answer = pb.CloseResponse()
        returned = o.read_lock.acquire(timeout=1)  # else close must end the read
        try:
            if returned and o.rest:
                o.it.ack(o.rest, RuntimeError("the instance was closed before the batch was fetched"))
                o.rest = []
            o.it.close()
        except Exception as e:
            answer.error.CopyFrom(_error(e))
        if returned:
            o.read_lock.release()
        if isinstance(o.it, Source):
            o.it._saver.close()
        with self.lock:
            self.open.pop(request.instance, None)
        answer.dropped = o.dropped()
        return answer

    def Health(self, request, context):
        return pb.HealthResponse()


def _setting(name: str, k: Key):
    default = k.default if isinstance(k.default, (str, type(None))) else json.dumps(k.default)
    return pb.Setting(name=name, type=k.type, required=k.required, default=default, enum=k.enum, minimum=k.minimum, maximum=k.maximum,
                      short=k.short, own=k.own, text=k.text, path=k.path)


class _JSONLines(logging.Formatter):
    """Log records as the bridge reads them."""

    def format(self, record):
        level = {"WARNING": "WARN", "CRITICAL": "ERROR"}.get(record.levelname, record.levelname)
        line = {"time": datetime.datetime.now(datetime.timezone.utc).isoformat(), "level": level,
                "msg": record.getMessage(), "logger": record.name}
        for key in ("pipeline", "instance"):
            if getattr(record, key, ""):
                line[key] = getattr(record, key)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Printed:
    """Standard output after the handshake: a print must not hurt, and goes to the log."""

    def __init__(self):
        self.part = ""

    def write(self, text):
        *lines, self.part = (self.part + text).split("\n")
        for line in lines:
            logging.getLogger("print").info(line)
        return len(text)

    def flush(self):
        pass


def _exit(*_):
    """Ends this process and what it has started, if that is in a group of its own, as the bridge sees to."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _exit_with_host(fd: int) -> None:
    while os.read(fd, 4096):
        pass
    _exit()


def _certificate() -> Tuple[bytes, bytes, bytes]:
    """A new certificate for this process: its key and itself in PEM, and itself in DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "crl_sign", "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return (key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            certificate.public_bytes(pem), certificate.public_bytes(serialization.Encoding.DER))


def _guard(method):
    """Makes gRPC statuses of the exceptions for calls that make no sense."""

    def call(request, context):
        try:
            return method(request, context)
        except LookupError as e:
            context.abort(grpc.StatusCode.NOT_FOUND, str(e))
        except (ValueError, AttributeError) as e:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(e))

    return call


def serve(*connectors: Connector, version: str = "") -> None:
    """Serves the connectors to the bridge that started this process, and exits with it. Call it first and last in your main program."""
    program = sys.argv[0]
    if os.environ.get(COOKIE[0]) != COOKIE[1]:
        sys.exit(f"{program} is a plugin of xrtcbridge, which starts it: name its path under plugins: in the YAML, or try\n"
                 f"  xrtcbridge plugins check {program}")
    if VERSION not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", VERSION).split(","):
        sys.exit(f"{program} speaks version {VERSION} of the plugin contract, and the bridge does not: get a newer helper for it")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bridge gets them too, and ends us when all is delivered
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, _exit)  # the kernel's, when the bridge is gone
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONLines())
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    threading.Thread(target=_exit_with_host, args=(os.dup(0),), daemon=True).start()
    sys.stdin = open(os.devnull)

    limit = int(os.environ.get("XRTCBRIDGE_PLUGIN_LIMIT") or 16 << 20)
    most = limit + OVERHEAD
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=[
        ("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", most)])
    servicer = _Servicer(connectors, version, limit)
    handlers = {}
    for name, method in pb.DESCRIPTOR.services_by_name["Connector"].methods_by_name.items():
        handlers[name] = grpc.unary_unary_rpc_method_handler(
            _guard(getattr(servicer, name)),
            request_deserializer=getattr(pb, method.input_type.name).FromString,
            response_serializer=lambda m: m.SerializeToString())
    stopped = threading.Event()

    def shutdown(request, context):
        stopped.set()
        return b""

    def raw(method):
        return grpc.unary_unary_rpc_method_handler(method)

    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("xrtcbridge.connector.v1.Connector", handlers),
        # What go-plugin itself asks for: to stop, and whether the plugin is well (status 1).
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": raw(shutdown)}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": raw(lambda request, context: b"\x08\x01")}),
    ))
    path = os.path.join(tempfile.mkdtemp(prefix="p", dir=os.environ.get("PLUGIN_UNIX_SOCKET_DIR")), "s")
    key, pem, der = _certificate()
    client = os.environ.get("PLUGIN_CLIENT_CERT")
    if not client:
        sys.exit(f"{program}: the bridge sent no certificate")
    server.add_secure_port("unix:" + path, grpc.ssl_server_credentials([(key, pem)], client.encode(), True))
    server.start()
    certificate = base64.b64encode(der).decode().rstrip("=")
    sys.stdout.write(f"1|{VERSION}|unix|{path}|grpc|{certificate}\n")
    sys.stdout.flush()
    sys.stdout = _Printed()
    stopped.wait()
    server.stop(0.2).wait()
    _exit()
