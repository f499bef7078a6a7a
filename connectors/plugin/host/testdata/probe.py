#!/usr/bin/python3
"""The step of the probe, in Python: it does with each message what its payload says. And a source."""

import json
import os
import sys
import time

sys.path.insert(0, os.environ["HELPERS"])
sys.dont_write_bytecode = True
from xrtcbridge_plugin import Connector, Key, Message, SettingError, Source, Step, duration, serve  # noqa: E402


class Probe(Step):
    holds = True
    keys = {"none": Key()}

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


class Clock(Source):
    """A message every so often, each once, or a read that hangs."""

    guarantee = "at least once"
    keys = {"tick": Key("duration", "1s"), "hang": Key("bool", False), "words[]": Key(), "deep.secret": Key("secret"), "deep.n": Key("integer", 3),
            "gate": Key(), "closed": Key()}

    @classmethod
    def check(cls, settings):
        if "bad" in settings.get("words", []):
            raise SettingError("words", "one is bad: " + json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False))

    def open(self):
        if "gate" in self.settings:  # there until the test takes it away
            open(self.settings["gate"], "w").close()
            while os.path.exists(self.settings["gate"]):
                time.sleep(0.01)
        self.n, self.due = 0, time.monotonic() + duration(self.settings["tick"])

    def close(self):
        if "closed" in self.settings:
            open(self.settings["closed"], "w").close()

    def read(self, ctx):
        if self.settings["hang"]:
            time.sleep(3600)
        if ctx.wait(self.due - time.monotonic()):
            return []
        self.n, self.due = self.n + 1, time.monotonic() + duration(self.settings["tick"])
        return [Message(str(self.n).encode())]


serve(Connector("probe", source=Clock, step=Probe))
