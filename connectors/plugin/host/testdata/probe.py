#!/usr/bin/python3
"""The step of the probe, in Python: it does with each message what its payload says."""

import os
import sys

sys.path.insert(0, os.environ["HELPERS"])
sys.dont_write_bytecode = True
from xrtcbridge_plugin import Connector, Message, Step, serve  # noqa: E402


class Probe(Step):
    holds = True
    settings_schema = {"type": "object", "properties": {"none": {"type": "string"}}}

    def process(self, ctx, messages, out):
        if out.last:
            out.add(Message(b"last"))
            out.release(out.call)
        for i, m in enumerate(messages):
            for word in m.payload.decode().split():
                {
                    "pass": lambda: out.pass_(i),
                    "emit": lambda: out.emit(i, Message(m.payload, m.topic + "'", m.headers, m.time)),
                    "drop": lambda: out.drop(i),
                    "refuse": lambda: out.refuse(i, "told to"),
                    "hold": lambda: out.hold(i),
                    "add": lambda: out.add(Message(topic="added")),
                    "release": lambda: out.release(out.call),
                    "release-before": lambda: out.release(out.call - 1),
                    "wake": lambda: out.wake(0.0015),
                }[word]()


serve(Connector("probe", step=Probe))
