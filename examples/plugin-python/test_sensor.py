import json
import os
import tempfile
import unittest
from datetime import datetime, timezone

import xrtcbridge_plugin as plugin
from sensor import CSV, Average, Sensor
from xrtcbridge_plugin import Context, Env, Message, Output, Permanent, SettingError


class SensorTest(unittest.TestCase):
    def test_counts_on_from_its_checkpoint(self):
        sensor = Sensor({"name": "hall", "interval": "1ms", "count": 5}, Env(checkpoint=b"3"))
        sensor.open()
        got = sensor.read(Context()) + sensor.read(Context())
        self.assertEqual([(m.topic, json.loads(m.payload)["n"]) for m in got], [("sensors/hall/temp", 4), ("sensors/hall/temp", 5)])
        with self.assertRaises(EOFError):
            sensor.read(Context())

    def test_settings(self):
        for settings, key in (({"name": "a/b", "interval": "1s"}, "name"), ({"name": "a", "interval": "0s"}, "interval")):
            with self.assertRaises(SettingError) as e:
                Sensor.check(settings)
            self.assertEqual(e.exception.key, key)


class CSVTest(unittest.TestCase):
    def setUp(self):
        self.path = os.path.join(tempfile.mkdtemp(), "out.csv")

    def write(self, *payloads, columns=("n", "topic")):
        sink = CSV({"path": self.path, "columns": list(columns)})
        sink.open()
        try:
            return sink.write(Context(), [Message(p, "t") for p in payloads])
        finally:
            sink.close()

    def test_one_header(self):
        self.write(b'{"n": 1}')
        self.write(b'{"n": "a,\\"b\\""}', b"{}")
        with open(self.path, newline="") as f:
            self.assertEqual(f.read(), 'n,topic\r\n1,t\r\n"a,""b""",t\r\n,t\r\n')

    def test_what_is_no_object_is_refused_and_the_rest_written(self):
        result = self.write(b'{"n": 1}', b"[]", b'{"n": 2}')
        self.assertEqual((result.settled, list(result.refused), result.error), (None, [1], None))
        with open(self.path) as f:
            self.assertEqual(f.read().splitlines(), ["n,topic", "1,t", "2,t"])


class AverageTest(unittest.TestCase):
    def setUp(self):
        self.step, self.call = Average({"count": 3}), 0
        self.step.open()

    def process(self, *payloads, last=False):
        messages = [Message(p) for p in payloads]
        self.call += 1
        out = Output(messages, self.call, last)
        self.step.process(Context(), messages, out)
        return [json.loads(m.payload) for m in out.messages], out

    def test_every_so_many(self):
        made, out = self.process(b"1", b"2", b"x")
        self.assertEqual((made, out.held, list(out.refused), out.released, out.wake_after), ([], [0, 1], [2], 0, 60))
        made, out = self.process(b"6", b"4")
        self.assertEqual((made, out.held, out.released, out.wake_after), ([{"mean": 3.0, "count": 3}], [0, 1], 1, 60))
        made, out = self.process(b"4", b"4")
        self.assertEqual((made, out.held, out.released, out.wake_after), ([{"mean": 4.0, "count": 3}], [0, 1], 3, 0))

    def test_after_a_time(self):
        self.process(b"1")
        self.assertEqual(self.process()[0], [])
        self.step.due = 0
        made, out = self.process()
        self.assertEqual((made, out.released), ([{"mean": 1.0, "count": 1}], 3))

    def test_at_the_end(self):
        self.process(b"1", b"3")
        self.assertEqual(self.process(last=True)[0], [{"mean": 2.0, "count": 2}])
        self.assertEqual(self.process(last=True)[0], [])


class HelperTest(unittest.TestCase):
    def test_batches(self):
        time = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
        messages = [
            Message(b"\x00\xff", "a", {"k": "v", "l": ""}, time, "1"),
            Message(b"", "", {}, None, ""),
            Message(b"x" * 1000, "a\udcff", {"k": "\udcfe"}, datetime(1969, 12, 31, tzinfo=timezone.utc), "2"),
        ]
        batch, n = plugin.pack(messages)
        self.assertEqual((n, plugin.unpack(batch)), (3, messages))
        batch, n = plugin.pack(messages, 500)
        self.assertEqual((n, plugin.unpack(batch)), (2, messages[:2]))
        self.assertEqual(plugin.pack(messages[2:], 500)[1], 0)
        self.assertEqual(plugin.unpack(plugin.pack([])[0]), [])

    def test_malformed_batches(self):
        for batch in (
            plugin.pb.Batch(payloads=b"x", payload_sizes=[2]),
            plugin.pb.Batch(payload_sizes=[0], topics=[0]),
            plugin.pb.Batch(payload_sizes=[0, 0], names=[b"a"], topics=[0]),
            plugin.pb.Batch(payload_sizes=[0], header_counts=[1]),
            plugin.pb.Batch(payload_sizes=[0], id_sizes=[1]),
        ):
            with self.assertRaises(ValueError):
                plugin.unpack(batch)

    def test_what_a_step_says(self):
        messages = [Message(b"%d" % i) for i in range(6)]
        out = Output(messages, call=9, limit=1000)
        out.pass_(1)
        out.emit(1, Message(b"1'"))
        out.drop(0)
        out.emit(3, Message(b"x" * 1000))
        out.emit(5, Message(b"5'"))
        out.hold(4)
        out.refuse(2, "odd")
        out.wake(0.0011)
        r = out._response()
        self.assertEqual((list(r.origins), list(r.passed), list(r.dropped), list(r.held), r.released, r.wake_ms), ([2, 2, 6], [1], [0], [4], 0, 2))
        self.assertEqual([(f.index, f.text[:50]) for f in r.refused], [(2, "odd"), (3, "the step made of it a message of 1000 bytes is lar")])
        self.assertEqual([m.payload for m in plugin.unpack(r.batch)], [b"1'", b"5'"])
        for wrong in (lambda: out.pass_(0), lambda: out.drop(6), lambda: out.hold(-1)):
            with self.assertRaises(Permanent):
                wrong()

    def test_what_a_step_holds(self):
        for words, released in (("h", 0), ("r", 9), ("hr", 9), ("rh", 8), ("hrh", 8), ("hrhr", 9), ("b", 7), ("bh", 7), ("rb", 9)):
            out, i = Output([Message()] * 4, call=9), 0
            for word in words:
                if word == "h":
                    out.hold(i)
                    i += 1
                else:
                    out.release(9 if word == "r" else 7)
            self.assertEqual(out._response().released, released, words)

    def test_texts(self):
        self.assertEqual([plugin.duration(t) for t in ("0s", "1h30m", "1.5s", "10ms")], [0, 5400, 1.5, 0.01])
        self.assertEqual([plugin.size(t) for t in ("512", "64KiB", "100MB", "1.5k")], [512, 65536, 100_000_000, 1500])
        for wrong in ("", "10", "s", "1x"):
            with self.assertRaises(ValueError):
                plugin.duration(wrong)


if __name__ == "__main__":
    unittest.main()
