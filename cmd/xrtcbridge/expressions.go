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
  json     the payload parsed as JSON; a payload that is none is an error
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

Functions of the language that are often of use
  lower upper trim trimPrefix(topic, "a/") split(topic, ".") replace
  round floor abs min max int float string toJSON len

Examples
  filter: json.celsius > 20 && topic startsWith "sensors/"
  filter: (json.room ?? "") in ["kitchen", "hall"]
  subject: "readings.{{ toSubject(topic) }}"
  topic: "mirror/{{ trimPrefix(toTopic(topic), 'readings/') }}"
  path: "rooms/{{ json.room ?? 'unknown' }}.ndjson"

A value that is missing is an error; write json.room ?? "unknown" if it may be.
`,
	}
}
