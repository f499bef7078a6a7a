#!/bin/sh
# Builds the program xrtcbridge-sqlite.
set -eu
cd "$(dirname "$0")"
CGO_ENABLED=0 go build -trimpath -o xrtcbridge-sqlite .
