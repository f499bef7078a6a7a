package expr

import (
	"strings"
	"sync/atomic"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Template compiles the parts. An error is an [*Error].
func (ps Parts) Template() (bridge.Template, error) {
	t := &template{}
	var text, source strings.Builder
	constant := true
	for _, p := range ps {
		if !p.Code {
			text.WriteString(p.Text)
			source.WriteString(Literal(p.Text))
			t.pieces = append(t.pieces, piece{literal: p.Text})
			continue
		}
		constant = false
		source.WriteString("{{" + p.filled() + "}}")
		c, err := compilePiece(p)
		if err != nil {
			return nil, err
		}
		t.counts = t.counts || c.program != nil && c.program.code.needs.seq
		t.pieces = append(t.pieces, c)
	}
	if constant {
		return bridge.Text(text.String()), nil
	}
	t.text = source.String()
	return t, nil
}

// Literal returns a template that renders as text, whatever is in it.
func Literal(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }

type template struct {
	text   string // what it was compiled from
	pieces []piece
	counts bool // seq is mentioned
	counter
}

// counter is the variable seq.
type counter struct{ seq atomic.Int64 }

func (c *counter) next(p *program) int {
	if p.code.needs.seq {
		return int(c.seq.Add(1))
	}
	return 0
}

var _ bridge.Template = (*template)(nil)

// piece is one of literal text, variable and program.
type piece struct {
	literal  string
	variable func(*bridge.Message) string
	topic    func(string) string // of the variables that are the topic, or another spelling of it
	program  *program
}

// compilePiece takes the variables that people write most from the message
// without running a program.
func compilePiece(p Part) (piece, error) {
	switch strings.TrimSpace(p.Text) {
	case "topic":
		return topicPiece(func(topic string) string { return topic }), nil
	case "payload":
		return piece{variable: func(m *bridge.Message) string { return string(m.Payload) }}, nil
	case "id":
		return piece{variable: func(m *bridge.Message) string { return m.ID }}, nil
	case "toSubject(topic)":
		return topicPiece(bridge.SubjectFromTopic), nil
	case "toTopic(topic)":
		return topicPiece(bridge.TopicFromSubject), nil
	case "portalid(topic)":
		return piece{variable: func(m *bridge.Message) string { return bridge.PortalID(m.Topic) }}, nil
	}
	prog, err := compile(p)
	return piece{program: prog}, err
}

func topicPiece(spell func(string) string) piece {
	return piece{variable: func(m *bridge.Message) string { return spell(m.Topic) }, topic: spell}
}

func (t *template) Render(m *bridge.Message) (string, error) {
	if p := &t.pieces[0]; len(t.pieces) == 1 {
		if p.variable != nil {
			return p.variable(m), nil
		}
		if !p.program.alone { // fields are copied as they stand
			if value, ok := p.program.direct.try(m); ok {
				if text, is := value.(string); is {
					return strings.Clone(text), nil
				}
				b, err := p.program.text(nil, m, value)
				return string(b), err
			}
		}
	}
	seq := 0
	if t.counts {
		seq = int(t.seq.Add(1))
	}
	var space [128]byte
	b := space[:0]
	for i := range t.pieces {
		p := &t.pieces[i]
		switch {
		case p.variable != nil:
			b = append(b, p.variable(m)...)
		case p.program == nil:
			b = append(b, p.literal...)
		default:
			var err error
			if b, err = p.program.append(b, m, seq); err != nil {
				return "", err
			}
		}
	}
	return string(b), nil
}

// String returns what t was compiled from.
func (t *template) String() string { return t.text }

func (t *template) Constant() (string, bool) { return t.pieces[0].literal, false }

func (t *template) Prefix(topic string) string {
	var b strings.Builder
	for i := range t.pieces {
		switch p := &t.pieces[i]; {
		case p.topic != nil:
			// A separator at the end might be spelt otherwise with more behind it.
			b.WriteString(p.topic(strings.TrimRight(topic, "/.")))
			return b.String()
		case p.variable != nil || p.program != nil:
			return b.String()
		default:
			b.WriteString(p.literal)
		}
	}
	return b.String()
}
