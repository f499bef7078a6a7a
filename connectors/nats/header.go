package nats

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// replyHeader has the subject on which the publisher of a message waits for an answer.
const replyHeader = "reply"

// form says what becomes of messages that are published.
type form struct {
	subject subject
	headers map[string]bridge.Template

	// Of a bucket:
	bucket   bool
	deletes  bool            // by an empty payload
	revision bridge.Template // nil: any
}

func newForm(s *SinkSettings) form {
	return form{newSubject(s), s.Headers, s.KV != "", s.Empty == "delete", s.Revision}
}

// fill makes out what is published of m, with headers in h. An error is a reason to refuse m.
func (f *form) fill(out *nats.Msg, h *header, m *bridge.Message) error {
	subject, err := f.subject.of(m)
	if err != nil {
		return err
	}
	h.reset()
	h.add(m.Header)
	if err := h.render(f.headers, m); err != nil {
		return err
	}
	if f.bucket {
		if err := f.change(h, m); err != nil {
			return err
		}
	}
	out.Subject, out.Data, out.Header = subject, m.Payload, h.header
	return nil
}

// header makes headers to publish, in memory that it uses again for each message.
type header struct {
	header nats.Header
	values []string
}

// reset forgets the headers.
func (h *header) reset() {
	if h.header == nil {
		h.header = nats.Header{}
	}
	clear(h.header)
	h.values = h.values[:0]
}

// set adds a header as it is.
func (h *header) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.header[name] = h.values[n-1 : n : n]
}

// add adds the headers of a message, escaped, and without orders to the server.
func (h *header) add(headers map[string]string) {
	for name, value := range headers {
		if name == "" || len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") {
			continue
		}
		h.set(escapeName(name), escapeValue(value))
	}
}

// render adds the headers that settings say; one that comes out empty is left out.
func (h *header) render(templates map[string]bridge.Template, m *bridge.Message) error {
	for name, t := range templates {
		switch value, err := t.Render(m); {
		case err != nil:
			return fmt.Errorf("render header %s: %w", name, err)
		case value != "":
			h.set(name, escapeValue(value))
		}
	}
	return nil
}

// escapeName writes what the client library refuses in a name as %XX.
func escapeName(name string) string {
	return escape(name, func(_ int, c byte) bool {
		return c <= ' ' || c >= 0x7f || strings.IndexByte(`"()/,:;<=>?@[\]{}`, c) >= 0
	})
}

// escapeValue writes as %XX what would end the header, and white space that the
// client library would cut off.
func escapeValue(value string) string {
	return escape(value, func(i int, c byte) bool {
		outer := i == 0 || i == len(value)-1
		return c == '\r' || c == '\n' || c == 0 || outer && (c == ' ' || c == '\t')
	})
}

func escape(s string, illegal func(i int, c byte) bool) string {
	var b *strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case illegal(i, c):
			if b == nil {
				b = new(strings.Builder)
				b.WriteString(s[:i])
			}
			const hex = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		case b != nil:
			b.WriteByte(c)
		}
	}
	if b == nil {
		return s
	}
	return b.String()
}

// received returns the headers of a message that came.
func received(h nats.Header) map[string]string {
	headers := make(map[string]string, len(h))
	for name, values := range h {
		if len(values) > 0 {
			headers[name] = values[0]
		}
	}
	return headers
}
