package bridge

import "strings"

// SubjectFromTopic converts an MQTT topic or filter to a NATS subject.
//
// The separators and wildcards change places, so a/+/# becomes a.*.>, and a level a.b becomes the
// token a/b. What a subject cannot hold is written as a % and two hexadecimal digits: white space
// (%20, %09, %0A, %0C, %0D), an empty level (the token %00), and a $ at the start (%24), so that
// nobody reaches the server's own subjects, $SYS and $JS, by a topic. Where a topic holds such a
// sequence already, its % becomes %25; every other % stays as it is.
//
// A topic without wildcards always gives a subject that can be published to, and [TopicFromSubject]
// gives the topic back. One difference is left to the servers: the filter a/# matches the topic a,
// the subject a.> does not match a.
func SubjectFromTopic(topic string) string {
	var b strings.Builder
	b.Grow(len(topic) + len("%00"))
	level := 0 // where the level began
	for i := 0; i <= len(topic); i++ {
		if i == len(topic) || topic[i] == '/' {
			if i == level {
				b.WriteString("%00")
			}
			if i < len(topic) {
				b.WriteByte('.')
			}
			level = i + 1
			continue
		}
		switch c := topic[i]; c {
		case '.', '+', '*', '#', '>':
			b.WriteByte(swap(c))
		case ' ', '\t', '\n', '\f', '\r':
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		case '$':
			if i == 0 {
				b.WriteString("%24")
			} else {
				b.WriteByte(c)
			}
		case '%':
			if e, ok := findEscape(topic, i, '/'); ok {
				b.WriteString("%25")
				b.WriteString(topic[i+1 : e.end])
				i = e.end - 1
			} else {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// TopicFromSubject converts a NATS subject to an MQTT topic, undoing what
// [SubjectFromTopic] does; likewise [SubjectFromTopic] gives the subject back, except
// that a $ at its start, the mark of the server's own subjects, comes back as %24.
func TopicFromSubject(subject string) string {
	var b strings.Builder
	b.Grow(len(subject))
	for i := 0; i < len(subject); i++ {
		switch c := subject[i]; c {
		case '.', '/', '+', '*', '#', '>':
			b.WriteByte(swap(c))
		case '%':
			e, ok := findEscape(subject, i, '.')
			switch {
			case !ok:
				b.WriteByte(c)
				continue
			case e.nested:
				b.WriteByte('%')
				b.WriteString(subject[i+len("%25") : e.end])
			case e.char != 0:
				b.WriteByte(e.char)
			}
			i = e.end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

const hex = "0123456789ABCDEF"

// swap returns the counterpart of a separator or wildcard.
func swap(c byte) byte {
	switch c {
	case '/':
		return '.'
	case '.':
		return '/'
	case '+':
		return '*'
	case '*':
		return '+'
	case '#':
		return '>'
	default:
		return '#'
	}
}

// escape is a % sequence: %, any number of 25, then the code of a character.
type escape struct {
	char   byte // the character; 0 stands for an empty level
	nested bool // there is a 25 in it
	end    int  // index behind it
}

// findEscape returns the sequence that starts with the % at s[i], if that is one.
func findEscape(s string, i int, separator byte) (escape, bool) {
	e := escape{end: i + 1}
	for strings.HasPrefix(s[e.end:], "25") {
		e.end += 2
		e.nested = true
	}
	if len(s) < e.end+2 {
		return escape{}, false
	}
	code := s[e.end : e.end+2]
	e.end += 2
	switch code {
	case "20":
		e.char = ' '
	case "09":
		e.char = '\t'
	case "0A":
		e.char = '\n'
	case "0C":
		e.char = '\f'
	case "0D":
		e.char = '\r'
	case "24":
		e.char = '$'
		return e, i == 0
	case "00":
		whole := (i == 0 || s[i-1] == separator) && (e.end == len(s) || s[e.end] == separator)
		return e, whole
	default:
		return escape{}, false
	}
	return e, true
}
