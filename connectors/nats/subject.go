package nats

import (
	"fmt"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// longestSubject leaves room for the rest in a line of the protocol, which servers take up to 4096
// bytes long. They hang up on longer ones, so that a message with one would stop the pipeline for
// ever without a reason.
const longestSubject = 4000

// subject renders subjects to publish to.
type subject struct {
	template bridge.Template
	fixed    string // the subject, if it is the same for all messages
	own      bool   // its text, and no message, chooses one of the reserved subjects, like $KV.
	api      string // of JetStream, which may not begin with $ if it is another account's
	replies  bool   // a message may choose one on which somebody waits for an answer
}

func newSubject(s *SinkSettings) subject {
	fixed, constant := s.to().Constant()
	begins := fixed
	if !constant {
		fixed = "" // what Constant returned is a prefix
	}
	all := subject{template: s.to(), fixed: fixed, api: s.API(), replies: s.Replies}
	all.own = (all.commands(begins) || awaited(begins)) && strings.Contains(begins, ".")
	return all
}

// commands reports whether text is one of the subjects by which the server is told what to do, or
// which it, JetStream's clients and bridges keep for themselves.
func (s subject) commands(text string) bool {
	return strings.HasPrefix(text, "$") || strings.HasPrefix(text, s.api)
}

// awaited reports whether s is one of the subjects on which clients and servers wait for answers.
func awaited(s string) bool {
	return strings.HasPrefix(s, "_INBOX") || strings.HasPrefix(s, "_R_.") || strings.HasPrefix(s, "_GR_.")
}

// of returns the subject for m. An error is a reason to refuse it.
func (s subject) of(m *bridge.Message) (string, error) {
	if s.fixed != "" {
		return s.fixed, nil
	}
	text, err := s.template.Render(m)
	switch {
	case err != nil:
		return "", fmt.Errorf("render subject: %w", err)
	case !publishable(text):
		return "", fmt.Errorf("publish to %q: not a subject: it has white space, an empty word, or * or > for a word", text)
	case !s.own && s.commands(text):
		return "", fmt.Errorf("publish to %q: a message must not choose one of the server's own subjects: "+
			"begin the template with that word, as in $KV.BUCKET.{{ … }}", text)
	case !s.own && !s.replies && awaited(text):
		return "", fmt.Errorf("publish to %q: a message must not choose one of the server's own subjects: "+
			"set replies: true to answer whoever waits there", text)
	case len(text) > longestSubject:
		return "", fmt.Errorf("publish to %.60q…: a subject of %d bytes, and %d are the most", text, len(text),
			longestSubject)
	}
	return text, nil
}

// publishable reports whether messages can be published to s.
func publishable(s string) bool {
	if !words(s) {
		return false
	}
	for w := range strings.SplitSeq(s, ".") {
		if w == "*" || w == ">" {
			return false
		}
	}
	return true
}

func notPublishable(s string) error {
	return fmt.Errorf("%q cannot be published to: a subject is words with dots between, no white space, * or >", s)
}

// subscribable reports whether s can be subscribed to.
func subscribable(s string) bool {
	if !words(s) {
		return false
	}
	rest := strings.TrimSuffix(s, ".>")
	for w := range strings.SplitSeq(rest, ".") {
		if w == ">" && s != ">" {
			return false
		}
	}
	return true
}

// words reports whether s is words with dots between.
func words(s string) bool {
	empty := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0 || c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r':
			return false // any other control character the server takes
		case c != '.':
			empty = false
		case empty:
			return false
		default:
			empty = true
		}
	}
	return !empty
}

// covers reports whether every subject that matches filter matches by too.
func covers(by, filter string) bool {
	b, f := strings.Split(by, "."), strings.Split(filter, ".")
	for i, w := range b {
		switch {
		case w == ">":
			return len(f) > i
		case i >= len(f) || f[i] == ">":
			return false
		case w != "*" && w != f[i]:
			return false
		}
	}
	return len(b) == len(f)
}

// distinct returns the subjects without those that another one covers, and these.
func distinct(subjects []string) (all, covered []string) {
	for i, s := range subjects {
		by := func(j int, other string) bool { return j != i && covers(other, s) && (j < i || !covers(s, other)) }
		at := 0
		for at < len(subjects) && !by(at, subjects[at]) {
			at++
		}
		if at < len(subjects) {
			covered = append(covered, s)
		} else {
			all = append(all, s)
		}
	}
	return all, covered
}

// overlap reports whether a subject may match both filters.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		switch {
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
	return len(x) == len(y)
}
