import json
import os
import tempfile
import unittest
from datetime import datetime, timezone

import xrtcbridge_plugin as plugin
from sensor import CSV, Sensor
from xrtcbridge_plugin import Context, Env, Message, Permanent, SettingError


class SensorTest(unittest.TestCase):
    def test_counts_on_from_its_checkpoint(self):
        sensor = Sensor({"name": "hall", "interval": "1ms", "count": 5}, Env(checkpoint=b"3"))
        sensor.open()
        got = sensor.read(Context()) + sensor.read(Context())
        self.assertEqual([(m.topic, json.loads(m.payload)["n"], m.id) for m in got],
                         [("sensors/hall/temp", 4, "hall-4"), ("sensors/hall/temp", 5, "hall-5")])
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
            sink.write(Context(), [Message(p, "t") for p in payloads])
        finally:
            sink.close()

    def test_one_header(self):
        self.write(b'{"n": 1}')
        self.write(b'{"n": "a,\\"b\\""}', b"{}")
        with open(self.path, newline="") as f:
            self.assertEqual(f.read(), 'n,topic\r\n1,t\r\n"a,""b""",t\r\n,t\r\n')

    def test_what_is_no_object_is_refused_and_the_rest_before_it_kept(self):
        with self.assertRaises(Permanent) as e:
            self.write(b'{"n": 1}', b"[]", b'{"n": 2}')
        self.assertEqual(e.exception.delivered, 1)
        with open(self.path) as f:
            self.assertEqual(len(f.readlines()), 2)


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

    def test_texts(self):
        self.assertEqual([plugin.duration(t) for t in ("0s", "1h30m", "1.5s", "10ms")], [0, 5400, 1.5, 0.01])
        self.assertEqual([plugin.size(t) for t in ("512", "64KiB", "100MB", "1.5k")], [512, 65536, 100_000_000, 1500])
        for wrong in ("", "10", "s", "1x"):
            with self.assertRaises(ValueError):
                plugin.duration(wrong)


if __name__ == "__main__":
    unittest.main()
