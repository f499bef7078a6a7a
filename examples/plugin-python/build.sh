#!/bin/sh
# Tests the plugin and builds the program xrtcbridge-sensor, one file with all that is ours in it.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-/usr/bin/python3}
"$python" -B -m unittest
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp sensor.py connector_pb2.py xrtcbridge_plugin.py "$dir"
cp main.py "$dir/__main__.py"
"$python" -m zipapp "$dir" --python "$python" --output xrtcbridge-sensor
