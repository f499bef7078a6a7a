"""sensor, csv and average: readings as a sensor's driver would give them, a CSV file that has every message once it is confirmed, and a
step that makes one message of several."""

import csv
import io
import json
import math
import os
import random
import time
from datetime import datetime, timezone

from xrtcbridge_plugin import Connector, Interrupted, Key, Message, Result, SettingError, Sink, Source, Step, duration

SENSOR_EXAMPLE = """\
pipelines:
  readings:
    from:
      sensor:
        name: kitchen       # part of the topic sensors/NAME/temp
        interval: 1s        # between readings
        count: 0            # readings, then the input is finished; 0: no end
    to: stdio
"""

CSV_EXAMPLE = """\
pipelines:
  table:
    from: stdio
    to:
      csv:
        path: readings.csv
        columns: [n, celsius]   # fields of the JSON payload, and topic, time, id
"""


AVERAGE_EXAMPLE = """\
pipelines:
  means:
    from: stdio
    steps:
      - average:
          count: 10           # numbers, or fewer after this time:
          every: 1m
    to: stdio
"""


class Sensor(Source):
    """A temperature sensor, simulated. After a restart of the plugin it goes on where it was."""

    checkpoints = True
    delivery = "at least once: what was not confirmed is read again"
    guarantee = "at least once"
    keys = {
        "name": Key(default="sensor", text="part of the topic sensors/NAME/temp", short=True),
        "interval": Key("duration", "1s", "between readings"),
        "count": Key("integer", 0, "readings, then the input is finished; 0: no end", minimum=0),
    }

    @classmethod
    def check(cls, settings):
        if duration(settings["interval"]) <= 0:
            raise SettingError("interval", "must be more than nothing")
        if "/" in settings["name"] or "+" in settings["name"] or "#" in settings["name"]:
            raise SettingError("name", "is one level of a topic, without / + and #")

    def open(self):
        self.interval = duration(self.settings["interval"])
        self.due = time.monotonic() + self.interval
        self.n = int(self.env.checkpoint or 0)
        self.acked = self.n

    def read(self, ctx):
        if self.n == self.settings["count"] > 0:
            raise EOFError
        if ctx.wait(self.due - time.monotonic()):
            raise Interrupted
        self.due = time.monotonic() + self.interval
        self.n += 1
        celsius = round(20 + 5 * math.sin(self.n / 10) + random.uniform(-0.2, 0.2), 2)
        payload = json.dumps({"n": self.n, "celsius": celsius}).encode()
        return [Message(payload, f"sensors/{self.settings['name']}/temp", {"unit": "celsius"}, datetime.now(timezone.utc))]

    def ack(self, messages, error):
        if error is None:
            self.acked += len(messages)
            self.save(str(self.acked).encode())


class CSV(Sink):
    """A CSV file. It is synced to disk before a batch counts as delivered."""

    delivery = "on disk when confirmed; a batch that comes again is there twice"
    guarantee = "at least once"
    keys = {
        "path": Key(text="of the file, which is appended to", required=True, short=True, path=True),
        "columns[]": Key(default=["topic", "payload"], text="fields of the JSON payload, and topic, payload, time, id"),
    }

    def open(self):
        self.file = open(self.settings["path"], "a", newline="", encoding="utf-8")
        if self.file.tell() == 0:
            csv.writer(self.file).writerow(self.settings["columns"])
            self._sync()

    def _sync(self):
        self.file.flush()
        os.fsync(self.file.fileno())

    def write(self, ctx, messages):
        text = io.StringIO()
        rows, refused = csv.writer(text), {}
        for i, m in enumerate(messages):
            try:
                rows.writerow(self._row(m))
            except ValueError as e:
                refused[i] = f"the payload is not a JSON object: {e}"
        self.file.write(text.getvalue())
        self._sync()
        return Result(refused=refused)

    def _row(self, m):
        own = {"topic": m.topic, "payload": m.payload.decode(errors="replace"), "time": m.time and m.time.isoformat(), "id": m.id}
        fields = None
        row = []
        for column in self.settings["columns"]:
            if column in own:
                row.append(own[column])
                continue
            if fields is None:
                fields = json.loads(m.payload)
                if not isinstance(fields, dict):
                    raise ValueError(f"it is {type(fields).__name__}")
            row.append(fields.get(column, ""))
        return row

    def close(self):
        self.file.close()


class Average(Step):
    """The mean of every so many numbers, or of those of a time. It holds them until then, so that none is lost, whatever happens."""

    holds = True
    keys = {
        "count": Key("integer", 10, "numbers, the payloads of messages", minimum=1),
        "every": Key("duration", "1m", "fewer, if no more came in this time"),
    }

    def open(self):
        self.values, self.every, self.due = [], duration(self.settings["every"]), 0

    def process(self, ctx, messages, out):
        for i, m in enumerate(messages):
            try:
                value = float(m.payload)
            except ValueError:
                out.refuse(i, "the payload is not a number")
                continue
            if not self.values:
                self.due = time.monotonic() + self.every
                out.wake(self.every)
            self.values.append(value)
            self.topic = m.topic
            out.hold(i)
            if len(self.values) == self.settings["count"]:
                self._let_go(out)
        if self.values and (out.last or time.monotonic() >= self.due):
            self._let_go(out)

    def _let_go(self, out):
        mean = {"mean": sum(self.values) / len(self.values), "count": len(self.values)}
        out.add(Message(json.dumps(mean).encode(), self.topic, time=datetime.now(timezone.utc)))
        out.release(out.call)
        out.wake(0)
        self.values = []


CONNECTORS = (
    Connector("sensor", "readings of a simulated temperature sensor", SENSOR_EXAMPLE, source=Sensor),
    Connector("csv", "a CSV file", CSV_EXAMPLE, sink=CSV),
    Connector("average", "the mean of several numbers", AVERAGE_EXAMPLE, step=Average),
)
