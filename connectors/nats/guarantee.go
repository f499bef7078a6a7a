package nats

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Describe says what JetStream promises, and core NATS does not.
func (s *SourceSettings) Describe() bridge.Description {
	d := bridge.Description{Guarantee: s.guarantee(), Traffic: s.traffic()}
	if s.stream() != "" {
		d.MaxUnacked = s.maxUnacked(bridge.DefaultMaxBatch)
	}
	if s.GivenUp {
		d.Notes = append(d.Notes, "every message is refused, so that on_error: {then: dead_letter} keeps it")
	}
	for _, subjects := range [][]string{s.subjects(), s.Filter} {
		if _, covered := distinct(subjects); len(covered) > 0 {
			d.Notes = append(d.Notes, fmt.Sprintf("left out, since another subject covers it: %q", covered))
		}
	}
	return d
}

// Describe says what JetStream promises, and core NATS does not.
func (s *SinkSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(),
		Traffic:   bridge.Traffic{System: s.system(), Topic: s.to(), Headers: true},
	}
}

// maxUnacked returns the most messages that a new consumer has on their way.
func (s *SourceSettings) maxUnacked(maxBatch int) int {
	if s.MaxAckPending > 0 {
		return s.MaxAckPending
	}
	return max(1000, 4*maxBatch)
}

func (s *SourceSettings) guarantee() bridge.Guarantee {
	if s.stream() == "" {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "core NATS keeps nothing; a stream does"}
	}
	return bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce, StableIDs: true,
		Why: "JetStream delivers again what was not acknowledged, with the same id",
	}
}

func (s *SinkSettings) guarantee() bridge.Guarantee {
	if !s.JetStream && s.stream() == "" {
		return bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "core NATS confirms nothing that is stored; jetstream: true or stream: NAME does",
		}
	}
	if s.Objects != "" {
		return bridge.Guarantee{
			Level: bridge.LevelAtLeastOnce,
			Why:   "what comes again replaces the object, also by what it was before another change",
		}
	}
	return bridge.Guarantee{
		Level: bridge.LevelOnce,
		Why: "JetStream confirms each message, and knows what comes again by its id, if the source gives it the same one, " +
			"within the stream's duplicate window",
	}
}

func (s *Client) system() string {
	if len(s.URL) == 0 || s.URL[0].IsZero() {
		return ""
	}
	return "nats " + s.URL[0].Host
}

// traffic returns what the subjects begin with. What a stream holds is not known without asking, so
// that without a filter it may be everything.
func (s *SourceSettings) traffic() bridge.Traffic {
	t := bridge.Traffic{System: s.system(), Headers: true}
	filters := s.subjects()
	switch {
	case s.KV != "":
		if filters = s.Filter; len(filters) == 0 {
			filters = []string{">"}
		}
	case s.Stream != "":
		filters = s.Filter
		if len(filters) == 0 {
			filters = s.Streams[s.Stream].Subjects
		}
	}
	for _, filter := range filters {
		begin, _, _ := strings.Cut(filter, ">")
		begin, _, _ = strings.Cut(begin, "*")
		t.Topics = append(t.Topics, begin)
	}
	if s.GivenUp || s.Objects != "" { // messages with other subjects come of that, and none chooses an advisory's
		begins := t.Topics
		t.Topics, t.Reads = nil, func(subject string, _ bool) bool {
			return slices.ContainsFunc(begins, func(begin string) bool { return strings.HasPrefix(subject, begin) })
		}
	}
	if s.KV != "" { // where the topic is not the subject
		t.Reads = func(subject string, whole bool) bool {
			key, is := strings.CutPrefix(subject, keyPrefix(s.KV))
			return is && slices.ContainsFunc(t.Topics, func(begin string) bool {
				return strings.HasPrefix(key, begin) || !whole && strings.HasPrefix(begin, key)
			}) || !whole && strings.HasPrefix(keyPrefix(s.KV), subject)
		}
	}
	return t
}
