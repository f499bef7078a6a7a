package nats

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Fast ingest of JetStream (ADR-50, server 2.14): the reply subjects of the messages of a Write say
// that they are a batch, which the server confirms every now and then instead of one by one. It ends
// the batch at the first message that it does not store. The rest is published once more, in the
// ordinary way: what was stored nevertheless is known by its id.
const (
	leastFast  = 16    // messages that are worth a batch
	fastFlow   = "100" // messages to a confirmation, at most
	fastSuffix = ".$FI"
)

// Operations of the messages of a batch.
const (
	fastStart  = "0"
	fastAppend = "1"
	fastCommit = "2" // the last one
)

// allowsBatches asks whether the stream takes fast ingest, by a connection of its own: where that is
// forbidden, the server's word must not end the one that publishes.
func allowsBatches(ctx context.Context, s *SinkSettings, env bridge.Env) bool {
	subject, constant := s.to().Constant()
	if s.stream() == "" && !constant {
		return false // one batch is for one stream
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := dial(ctx, &s.Client, env)
	if err != nil {
		return false
	}
	defer c.End()
	stream := s.stream()
	if stream == "" {
		if stream, err = c.js.StreamNameBySubject(ctx, subject); err != nil {
			return false
		}
	}
	answer, err := c.RequestWithContext(ctx, c.api+"STREAM.INFO."+stream, nil)
	if err != nil {
		return false
	}
	var info struct {
		Config struct {
			AllowBatched bool `json:"allow_batched"`
		} `json:"config"`
	}
	return json.Unmarshal(answer.Data, &info) == nil && info.Config.AllowBatched
}

// appendFast appends the reply subject of message i, and notes that it is the next one of the batch.
func (p *publisher) appendFast(i int) {
	p.order = append(p.order, i)
	operation := fastAppend
	switch {
	case i == len(p.batch)-1:
		operation = fastCommit
	case len(p.order) == 1:
		operation = fastStart
	}
	p.text = append(append(p.text[:0], p.fast...), fastFlow+".fail."...)
	p.text = strconv.AppendInt(p.text, int64(len(p.order)), 10)
	p.text = append(append(append(p.text, '.'), operation...), fastSuffix...)
}

// skipFast leaves message i out, which could not be published.
func (p *publisher) skipFast(i int, err error) {
	if n := len(p.order); n > 0 && p.order[n-1] == i {
		p.order = p.order[:n-1]
	}
	p.fallen = err != nil || i == len(p.batch)-1 // without its last message nothing ends the batch
}

// takeFast handles what the server says to a fast batch. Anything but a confirmation ends it.
func (p *publisher) takeFast(m *nats.Msg) {
	if p.fast == "" || !strings.HasPrefix(m.Subject, p.fast) {
		return // of an earlier one
	}
	var answer struct {
		Type  string          `json:"type"`
		Seq   int             `json:"seq"` // up to which all are stored, if Type is ack
		Batch string          `json:"batch"`
		Count int             `json:"count"` // the same at the end, if there is a Batch
		Error json.RawMessage `json:"error"`
	}
	stored := -1
	if err := json.Unmarshal(m.Data, &answer); err == nil && answer.Error == nil {
		switch {
		case answer.Type == "ack":
			stored = answer.Seq
		case answer.Batch != "":
			stored = answer.Count
			p.fallen = stored < len(p.order)
		}
	}
	if stored < 0 || stored > len(p.order) {
		p.fallen = true
		return
	}
	for ; p.stored < stored; p.stored++ {
		p.settle(p.order[p.stored])
	}
}
