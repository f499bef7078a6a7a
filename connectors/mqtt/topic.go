package mqtt

import (
	"errors"
	"strings"
	"unicode/utf8"
)

const maxTopic = 1<<16 - 1

// checkTopic tells whether one can publish to topic.
func checkTopic(topic string) error {
	if strings.ContainsAny(topic, "+#") {
		return errors.New("+ and # are for subscribing, not for publishing")
	}
	return checkText(topic)
}

// checkFilter tells whether one can subscribe to filter, which may be shared:
// $share/GROUP/FILTER.
func checkFilter(filter string) error {
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		group, inner, _ := strings.Cut(rest, "/")
		if group == "" || inner == "" || strings.ContainsAny(group, "+#") {
			return errors.New("a shared subscription looks like $share/group/filter")
		}
		filter = inner
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i < len(levels)-1):
			return errors.New("# stands alone at the end: a/#")
		case strings.Contains(level, "+") && level != "+":
			return errors.New("+ stands for a whole level: a/+/b")
		}
	}
	return checkText(filter)
}

func checkText(topic string) error {
	switch {
	case topic == "":
		return errors.New("the topic is empty")
	case len(topic) > maxTopic:
		return errors.New("the topic is longer than 65535 bytes")
	case strings.IndexByte(topic, 0) >= 0 || !utf8.ValidString(topic):
		return errors.New("the topic is not valid UTF-8 without NUL")
	case strings.IndexFunc(topic, hangUp) >= 0:
		return errors.New("the topic has a control character or one that Unicode keeps free, at which brokers may hang up")
	}
	return nil
}

// hangUp reports whether a broker may close the connection because of r in a topic, says section
// 1.5.3. Mosquitto does.
func hangUp(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// interner gives equal topics one string.
type interner struct {
	last string
	seen map[string]string
}

// internLimit bounds what an interner remembers.
const internLimit = 4096

func (t *interner) text(b []byte) string {
	if string(b) == t.last {
		return t.last
	}
	s, ok := t.seen[string(b)]
	if !ok {
		if t.seen == nil || len(t.seen) == internLimit {
			t.seen = make(map[string]string)
		}
		s = string(b)
		t.seen[s] = s
	}
	t.last = s
	return s
}
