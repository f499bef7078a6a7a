package pluginpb

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// NewBatch packs the messages at the front of b whose packed size stays under limit bytes; n is how
// many they are. It is 0 if already the first is too large.
func NewBatch(b bridge.Batch, limit int) (p *Batch, n int) {
	w := packer{names: make(map[string]uint32)}
	n, payload, header, id := w.measure(b, limit)
	b = b[:n]
	p = &w.batch
	p.Payloads = make([]byte, 0, payload)
	p.PayloadSizes = make([]uint32, len(b))
	for i := range b {
		p.Payloads = append(p.Payloads, b[i].Payload...)
		p.PayloadSizes[i] = uint32(len(b[i].Payload))
	}
	w.topics(b)
	w.headers(b, header)
	w.times(b)
	if id > 0 {
		p.Ids = make([]byte, 0, id)
		p.IdSizes = make([]uint32, len(b))
		for i := range b {
			p.Ids = append(p.Ids, b[i].ID...)
			p.IdSizes[i] = uint32(len(b[i].ID))
		}
	}
	return p, n
}

// What a message and a header cost at most beyond their texts: sizes, indices and a time.
const (
	messageOverhead = 5 + 5 + 5 + 5 + 10
	headerOverhead  = 5 + 5
	nameOverhead    = 6
)

type packer struct {
	batch Batch
	names map[string]uint32 // index of each name in batch.Names
}

// measure returns how many messages fit, and the bytes of their payloads, header values and ids.
func (w *packer) measure(b bridge.Batch, limit int) (n, payload, header, id int) {
	size := 0
	var last string // topics often follow one another
	for i := range b {
		m := &b[i]
		size += messageOverhead + len(m.Payload) + len(m.ID)
		if i == 0 || m.Topic != last {
			size += len(m.Topic) + nameOverhead
			last = m.Topic
		}
		for k, v := range m.Header {
			size += headerOverhead + nameOverhead + len(k) + len(v)
		}
		if size > limit {
			return i, payload, header, id
		}
		payload += len(m.Payload)
		id += len(m.ID)
		for _, v := range m.Header {
			header += len(v)
		}
	}
	return len(b), payload, header, id
}

func (w *packer) name(s string) uint32 {
	i, ok := w.names[s]
	if !ok {
		i = uint32(len(w.batch.Names))
		w.names[s] = i
		w.batch.Names = append(w.batch.Names, []byte(s))
	}
	return i
}

func (w *packer) topics(b bridge.Batch) {
	if !some(b, func(m *bridge.Message) bool { return m.Topic != "" }) {
		return
	}
	topics := make([]uint32, len(b))
	for i := range b {
		if i > 0 && b[i].Topic == b[i-1].Topic {
			topics[i] = topics[i-1]
		} else {
			topics[i] = w.name(b[i].Topic)
		}
	}
	w.batch.Topics = topics
}

func (w *packer) headers(b bridge.Batch, size int) {
	if !some(b, func(m *bridge.Message) bool { return len(m.Header) > 0 }) {
		return
	}
	p := &w.batch
	p.HeaderCounts = make([]uint32, len(b))
	p.HeaderValues = make([]byte, 0, size)
	for i := range b {
		p.HeaderCounts[i] = uint32(len(b[i].Header))
		for k, v := range b[i].Header {
			p.HeaderNames = append(p.HeaderNames, w.name(k))
			p.HeaderValues = append(p.HeaderValues, v...)
			p.HeaderValueSizes = append(p.HeaderValueSizes, uint32(len(v)))
		}
	}
}

func (w *packer) times(b bridge.Batch) {
	if !some(b, func(m *bridge.Message) bool { return !m.Time.IsZero() }) {
		return
	}
	times, before := make([]int64, len(b)), int64(0)
	for i := range b {
		at := int64(noTime)
		if !b[i].Time.IsZero() {
			at = b[i].Time.UnixNano()
		}
		times[i] = at - before
		before = at
	}
	w.batch.Times = times
}

// noTime stands for the time of a message that has none, among others that have one.
const noTime = 0

func some(b bridge.Batch, has func(*bridge.Message) bool) bool {
	for i := range b {
		if has(&b[i]) {
			return true
		}
	}
	return false
}

// Messages unpacks b, whose memory the messages share. An error says that b was not packed as it
// must be.
func (b *Batch) Messages() (bridge.Batch, error) {
	n := len(b.GetPayloadSizes())
	if n == 0 {
		return nil, nil
	}
	batch := make(bridge.Batch, n)
	for _, c := range []struct {
		name string
		size int
	}{
		{"topics", len(b.Topics)},
		{"header_counts", len(b.HeaderCounts)},
		{"times", len(b.Times)},
		{"id_sizes", len(b.IdSizes)},
	} {
		if c.size != 0 && c.size != n {
			return nil, fmt.Errorf("unpack batch: %s has %d entries for %d messages", c.name, c.size, n)
		}
	}
	names := make([]string, len(b.Names))
	for i, s := range b.Names {
		names[i] = string(s)
	}
	payloads := cut[[]byte]{rest: b.Payloads}
	for i, size := range b.PayloadSizes {
		if batch[i].Payload = payloads.next(size); payloads.short {
			return nil, errors.New("unpack batch: payloads end too early")
		}
	}
	for i, name := range b.Topics {
		if int(name) >= len(names) {
			return nil, fmt.Errorf("unpack batch: topic %d of %d names", name, len(names))
		}
		batch[i].Topic = names[name]
	}
	at := int64(0)
	for i, delta := range b.Times {
		at += delta
		if at != noTime {
			batch[i].Time = time.Unix(0, at)
		}
	}
	ids := cut[string]{rest: string(b.Ids)}
	for i, size := range b.IdSizes {
		if batch[i].ID = ids.next(size); ids.short {
			return nil, errors.New("unpack batch: ids end too early")
		}
	}
	return batch, b.headers(batch, names)
}

// mostRoom is for how many headers of a message there is room before they are known to differ.
const mostRoom = 64

func (b *Batch) headers(batch bridge.Batch, names []string) error {
	if len(b.HeaderNames) != len(b.HeaderValueSizes) {
		return fmt.Errorf("unpack batch: %d header names for %d values", len(b.HeaderNames), len(b.HeaderValueSizes))
	}
	values, h := cut[string]{rest: string(b.HeaderValues)}, 0
	for i, count := range b.HeaderCounts {
		if int(count) > len(b.HeaderNames)-h {
			return errors.New("unpack batch: headers end too early")
		}
		if count == 0 {
			continue
		}
		header := make(map[string]string, min(count, mostRoom))
		for range count {
			name := b.HeaderNames[h]
			if int(name) >= len(names) {
				return fmt.Errorf("unpack batch: header name %d of %d names", name, len(names))
			}
			header[names[name]] = values.next(b.HeaderValueSizes[h])
			h++
		}
		if values.short {
			return errors.New("unpack batch: header values end too early")
		}
		batch[i].Header = header
	}
	return nil
}

// cut cuts pieces off the front of a text.
type cut[T string | []byte] struct {
	rest  T
	short bool // a piece was longer than the rest
}

func (c *cut[T]) next(size uint32) T {
	if uint64(size) > uint64(len(c.rest)) {
		c.short = true
		var none T
		return none
	}
	piece := c.rest[:size]
	c.rest = c.rest[size:]
	return piece
}

// TooLarge says that a message does not fit into a request or answer of limit bytes.
func TooLarge(m *bridge.Message, limit int) error {
	size := len(m.Payload) + len(m.Topic) + len(m.ID)
	for k, v := range m.Header {
		size += len(k) + len(v)
	}
	return fmt.Errorf("a message of %d bytes%s is larger than what fits between the bridge and a plugin, "+
		"%d bytes; limits: {message: …} of the plugin sets that",
		size, topicOf(m), limit)
}

func topicOf(m *bridge.Message) string {
	if m.Topic == "" {
		return ""
	}
	return fmt.Sprintf(" on topic %q", strings.ToValidUTF8(m.Topic, "?"))
}
