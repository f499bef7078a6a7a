// Package expr is the one expression language of pipelines.yaml: conditions,
// and texts with {{ expression }} parts. The language is that of
// github.com/expr-lang/expr with these names:
//
//	topic    where the message came from
//	payload  its payload as text
//	json     its payload as JSON; of a field, like json.room, no more is parsed than it takes
//	header   its headers, by name
//	time     when it was made
//	id       its stable identity, may be empty
//	seq      how many messages this template has rendered, this one included
//	now      the time of rendering
//	rand     a random number from 0 up to but not including 1
//
//	toSubject(topic)   MQTT topic to NATS subject
//	toTopic(subject)   NATS subject to MQTT topic
//	portalid(topic)    any text to a valid id of an XRTC portal, a different one for each
//	segment(topic, i)  what stands between two slashes; 0 is the first, -1 the last
//	toJSON(x)          any value as JSON, on one line; bytes as base64
//	fromJSON(text)     the value
//	string(x)          any value as text, as {{ x }} writes it
//	default(x, y)      x, or y if x is nil or the empty text
//	round(x, n)        x with n decimal places, none without n, halves away from zero
//
//	capture(text, "pattern")     the groups of the first match, nil if there is none: by name if
//	                             they have names, else by number, where 0 is the whole
//	parseTime(text, "layout")    RFC 3339 without a layout; a third argument is the time zone of a
//	                             text that has none
//	format(t, "layout")          a time as text; a third argument is the time zone to write it in
//	unix(t), unixMilli(t)        a time as seconds, or milliseconds, since 1970
//	fromUnix(n), fromUnixMilli(n)
//	                             the time
//	hex(x), base64(x)            a text or bytes as text
//	unhex(text), unbase64(text)  what that stands for; base64 of both alphabets, padded or not
//	sha256(x), crc32(x)          a digest in hex; the checksum of IEEE as a number
//	bytes(x)                     the bytes of a text: bytes(payload)[2], bytes(payload)[1:3]
//	uint8(x, i)                  the number at byte i of a text or bytes, from 0, or from the end
//	                             if i is negative; the others are int8, and uint and int of 16,
//	                             24, 32 and 64 and float of 32 and 64 bits with be or le behind
//	uuid()                       a new random one, another one if the message comes again
//	env("NAME")                  the environment variable, read once, when it is compiled
//
// There is one way for each: the language's date, toBase64 and fromBase64 are parseTime, base64 and
// unbase64 here. Layouts are those of package time, written as 2006-01-02 15:04:05 would look.
// Patterns, layouts, time zones and names of variables have to be written out, so that a mistake in
// them, or a variable that is not set, is one of the text and not of a message.
//
// A value that is missing (nil) is an error where a text is wanted, so that a
// message is not sent to a wrong place; write json.room ?? "none" to allow it.
//
// Whole numbers are computed with in 64 bits, in which a result that needs more wraps around. A
// field from 2⁶³ to 2⁶⁴ keeps its digits, and is an error where it is computed with, unless by
// float(x); a larger one is a float64.
//
// Expressions are written by the owner of the pipeline, messages by anyone. So
// a pattern has to be written out, an error never shows the content
// of a message, and what an evaluation may do is bounded: 2²⁰ steps, eight more
// for each byte of the payload, 2²⁴ at most, where a step is to look at or make
// one value, or eight bytes of text. That takes some tenths of a second at most,
// or seconds if the payload has megabytes. More is an error, and so is JSON of 4
// million values.
package expr

import "github.com/xrtcbridge/xrtcbridge/bridge"

// Template compiles text, in which each {{ expression }} is replaced by its
// value. A text without one gives a [bridge.Text]. To write two braces, use
// {{ "{{" }}. An error is an [*Error].
func Template(text string) (bridge.Template, error) {
	parts, err := Split(text)
	if err != nil {
		return nil, err
	}
	return parts.Template()
}

// Condition compiles an expression that is true or false. An error is an
// [*Error]; if the type of the value is known only when there is a message,
// so may be an error of Match.
func Condition(text string) (bridge.Condition, error) {
	return Part{Text: text, Code: true}.Condition()
}
