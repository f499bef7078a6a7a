// Package expr is the one expression language of pipelines.yaml: conditions,
// and texts with {{ expression }} parts. The language is that of
// github.com/expr-lang/expr with these names:
//
//	topic    where the message came from
//	payload  its payload as text
//	json     its payload as JSON; parsed only if an expression mentions it
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
//
// A value that is missing (nil) is an error where a text is wanted, so that a
// message is not sent to a wrong place; write json.room ?? "none" to allow it.
//
// Expressions are written by the owner of the pipeline, messages by anyone:
// the size of an expression and the number of values that it makes are bounded,
// and an error never shows the content of a message.
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
