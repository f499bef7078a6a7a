package main

import "github.com/spf13/cobra"

// newExpressions returns a help topic: xrtcbridge help expressions.
func newExpressions() *cobra.Command {
	return &cobra.Command{
		Use:   "expressions",
		Short: "What can stand in conditions and {{ }} templates",
		Long: `Conditions (filter) and {{ }} templates (topics, subjects, paths, payloads) hold
expressions of the expr language: https://expr-lang.org/docs/language-definition

Variables
  topic    where the message came from: MQTT topic, NATS subject, portal id, file path
  payload  its bytes as text
  json     the payload parsed as JSON; where it is none, reading it is an error, and what stands
           before decides first: payload startsWith "{" && json.on
  header   its headers: header["Unit"]
  time     when the source saw it
  id       its identity, if the source has one
  seq      how many messages this template has rendered, from 1
  now      the time
  rand     a number from 0 to 1

Functions of the bridge
  toSubject(topic)     MQTT topic to NATS subject: a/b is a.b; reversible
  toTopic(subject)     the other way
  portalid(topic)      any text to a portal id, a different one for each; a valid one stays as it is
  segment(topic, i)    the i-th part between slashes, from 0; -1 is the last
  fromJSON(text)       the value of a JSON text; toJSON(x) writes it, on one line
  type(x)              nil, bool, number, string, bytes, array, map, time or duration
  default(x, y)        x, or y if x is missing or the empty text; x ?? y takes the empty text as it is
  round(x, n)          n decimal places, none without n; round(json.watts, -3) rounds to thousands
  capture(text, "p")   what groups of a pattern match, nil if nothing does:
                       capture(topic, "room([0-9]+)")[1], capture(topic, "(?<room>[0-9]+)")?.room
  env("NAME")          an environment variable, read at the start; one that is not set is an error of check
  uuid()               a new random UUID

Times
  parseTime(text)      of RFC 3339; parseTime(text, "02.01.2006 15:04", "Europe/Berlin") of another layout and
                       zone; layouts are written as 2006-01-02 15:04:05 would look
  format(t, "15:04")   a time as text; format(t, "15:04", "Europe/Berlin") in that zone
  unix(t) unixMilli(t) seconds, or milliseconds, since 1970; fromUnix(n) fromUnixMilli(n) give the time

Bytes
  hex(x) unhex(text) base64(x) unbase64(text) sha256(x) crc32(x)   of a text or bytes
  bytes(x)             the bytes of a text: bytes(payload)[0] is a number, bytes(payload)[2:6] bytes again,
                       len(bytes(payload)) how many
  uint16be(payload, i) the number at byte i, from 0; a negative i counts from the end. Others:
                       uint8 int8 uint16be uint16le int16be int16le uint24be uint24le int24be int24le
                       uint32be uint32le int32be int32le uint64be uint64le int64be int64le
                       float32be float32le float64be float64le

Functions of the language that are often of use
  lower upper trim trimPrefix(topic, "a/") split(topic, ".") replace
  floor abs min max int float string toJSON len; string writes what {{ }} would

In a file
  Within { } and [ ] of YAML an expression with ? : [ ] or a comma stands in quotes, as in
  {filter: "(json.t ?? 0) > 5"}, and so does, everywhere, one that begins with a quote, ! or [.

Examples
  filter: json.celsius > 20 && topic startsWith "sensors/"
  filter: (json.room ?? "") in ["kitchen", "hall"]
  subject: "readings.{{ toSubject(topic) }}"
  topic: "mirror/{{ trimPrefix(toTopic(topic), 'readings/') }}"
  path: "rooms/{{ json.room ?? 'unknown' }}.ndjson"

A value that is missing is an error; write json.room ?? "unknown" if it may be. So is a
message that would take far more steps or memory than one of its size may. The pattern of
matches and capture must be a text in quotes, as in topic matches "^sensors/[a-z]+$".
Whole numbers are computed with in 64 bits, and a sum that needs more wraps around. One from 2⁶³ to
2⁶⁴ is an error where it is computed with, but for float(json.id), and a larger one is such a float.
`,
	}
}
