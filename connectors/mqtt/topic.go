package mqtt

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxTopic    = 1<<16 - 1
	maxSlashes  = 200 // of mosquitto, which hangs up when there are more
	sharePrefix = "$share/"
)

// checkTopic tells whether one can publish to topic.
func checkTopic(topic string) error {
	if strings.ContainsAny(topic, "+#") {
		return errors.New("+ and # are for subscribing, not for publishing")
	}
	return checkText(topic)
}

// reserved reports whether topic is one of the broker's own, or, where nats-server is the broker,
// one on which somebody waits for an answer.
func reserved(topic string) bool {
	return topic[0] == '$' || strings.HasPrefix(topic, "_INBOX") || strings.HasPrefix(topic, "_R_/") ||
		strings.HasPrefix(topic, "_GR_/")
}

// checkFilter tells whether one can subscribe to filter, which may be shared:
// $share/GROUP/FILTER.
func checkFilter(filter string) error {
	if g := group(filter); isShared(filter) && (inner(filter) == "" || g == sharePrefix+"/" ||
		strings.ContainsAny(g, "+#")) {
		return errors.New("a shared subscription looks like $share/group/filter")
	}
	filter = inner(filter)
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
	case strings.Count(topic, "/") > maxSlashes:
		return errors.New("the topic has more than 201 levels, at which brokers hang up")
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

// group returns what the topics of two shared subscriptions must have in common to be in one
// group; empty for a filter that is not shared.
func group(filter string) string { return strings.TrimSuffix(filter, inner(filter)) }

// inner returns the filter in a shared subscription, and any other filter as it is.
func inner(filter string) string {
	if !isShared(filter) {
		return filter
	}
	_, filter, _ = strings.Cut(filter[len(sharePrefix):], "/")
	return filter
}

func isShared(filter string) bool { return strings.HasPrefix(filter, sharePrefix) }

// covers reports whether every topic that matches filter, which may be a topic, matches by too.
func covers(by, filter string) bool {
	if strings.HasPrefix(filter, "$") && by[0] != '$' {
		return false // no wildcard at the beginning matches those, says section 4.7.2
	}
	for {
		b, restB, moreB := strings.Cut(by, "/")
		f, restF, moreF := strings.Cut(filter, "/")
		switch {
		case b == "#":
			return true
		case f == "#" || b != "+" && b != f:
			return false
		case !moreF:
			return !moreB || restB == "#"
		case !moreB:
			return false
		}
		by, filter = restB, restF
	}
}

// overlap reports whether a topic may match both filters.
func overlap(a, b string) bool {
	if strings.HasPrefix(a, "$") != strings.HasPrefix(b, "$") {
		return false
	}
	for {
		x, restX, moreX := strings.Cut(a, "/")
		y, restY, moreY := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != "+" && y != "+" && x != y:
			return false
		case !moreX || !moreY:
			return moreX == moreY || restX == "#" || restY == "#"
		}
		a, b = restX, restY
	}
}

// uncovered returns the filters without those that another one covers: for a message that matches
// two of them a broker may send two copies.
func uncovered(filters []string) (kept, dropped []string) {
	for _, f := range filters {
		if slices.ContainsFunc(filters, func(by string) bool {
			return by != f && group(by) == group(f) && covers(inner(by), inner(f))
		}) {
			dropped = append(dropped, f)
		} else {
			kept = append(kept, f)
		}
	}
	return kept, dropped
}

// names returns what tells whether one of the filters is for a topic. What follows a $ that is not
// $share or $SYS only the broker knows.
func names(filters []string) func(topic string) bool {
	return func(topic string) bool {
		return slices.ContainsFunc(filters, func(f string) bool {
			f = inner(f)
			return covers(f, topic) || strings.HasPrefix(f, "$") && !strings.HasPrefix(f, "$SYS/")
		})
	}
}

// interner gives equal topics one string, and remembers what was found out about it.
type interner struct {
	named func(topic string) bool // nil: they all are
	last  known
	seen  map[string]known
	bytes int // of the topics in seen
}

// known is a topic.
type known struct {
	text    string
	unnamed bool // by any filter
}

// What an interner remembers at most: publishers choose how many topics there are, and a topic may
// have 64 KiB.
const (
	internLimit = 4096
	internBytes = 1 << 20
)

func (t *interner) topic(b []byte) known {
	if string(b) == t.last.text {
		return t.last
	}
	k, ok := t.seen[string(b)]
	if !ok {
		if t.seen == nil || len(t.seen) == internLimit || t.bytes+len(b) > internBytes {
			t.seen, t.bytes = make(map[string]known), 0
		}
		t.bytes += len(b)
		k.text = string(b)
		k.unnamed = t.named != nil && !t.named(k.text)
		t.seen[k.text] = k
	}
	t.last = k
	return k
}
