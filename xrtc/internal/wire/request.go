package wire

import (
	"fmt"
	"slices"
	"strings"
)

// SetItem is an item of a set request. Its slices alias the body, or memory of the [Set].
type SetItem struct {
	PortalID []byte
	Text     []byte // the payload as [AppendText] writes it, for it goes into answers like that
}

// Set is a set request. It may be used again for the next one.
type Set struct {
	Items []SetItem
	text  []byte
}

// Decode reads the body of a set request.
func (s *Set) Decode(body []byte) error {
	p := parser{in: body, lax: true, text: s.text[:0]}
	s.Items = s.Items[:0]
	s.body(&p)
	s.text = p.text
	return p.end()
}

func (s *Set) body(p *parser) {
	seen := false
	if !p.open('{', "the body") {
		return
	}
	for first := true; p.next(&first, '}'); {
		switch name := p.name(); string(name) {
		case "items":
			p.once(&seen, "items")
			s.items(p)
		default:
			p.fail("unknown name %s; a set has items", show(name))
		}
	}
	switch {
	case !seen:
		p.fail("items is missing")
	case len(s.Items) == 0:
		p.wrong("items: the list is empty")
	}
}

func (s *Set) items(p *parser) {
	if !p.open('[', "items") {
		return
	}
	for first := true; p.next(&first, ']'); {
		s.item(p)
	}
}

func (s *Set) item(p *parser) {
	if !p.open('{', "items") {
		return
	}
	var item SetItem
	stamped := false
	for first := true; p.next(&first, '}'); {
		switch name := p.name(); string(name) {
		case "portalid":
			if item.PortalID != nil {
				p.fail("items[%d].portalid: it is there twice", len(s.Items))
			}
			item.PortalID = p.string("portalid")
		case "payload":
			if item.Text != nil {
				p.fail("items[%d].payload: it is there twice", len(s.Items))
			}
			item.Text = p.written("payload")
		case "servertimestamp":
			p.once(&stamped, "servertimestamp")
			p.integer("servertimestamp")
		default:
			p.fail("items[%d]: unknown name %s; an item has portalid and payload", len(s.Items), show(name))
		}
	}
	switch {
	case item.PortalID == nil:
		p.fail("items[%d]: portalid is missing", len(s.Items))
	case item.Text == nil:
		p.fail("items[%d]: payload is missing", len(s.Items))
	}
	if bad := CheckPortalID(item.PortalID); bad != "" {
		p.wrong("items[%d].portalid: %s", len(s.Items), bad)
	}
	s.Items = append(s.Items, item)
}

// Portal is a portal of a get request.
type Portal struct {
	ID    string `json:"portalid"`
	Since int64  `json:"servertimestamp,omitzero"` // items stamped before it are left out; 0 is no bound
	After Place  `json:"after,omitzero"`           // a fresh session begins behind it, if it is of the same life
}

// Get is a get request. It is written by encoding/json.
type Get struct {
	Portals  []Portal `json:"portals"` // none: the latest item of every portal
	Mode     string   `json:"mode"`    // probe, watch or stream
	Schedule string   `json:"schedule"`
	Cutoff   int64    `json:"cutoff"`           // in milliseconds; negative is none
	Except   []string `json:"except,omitempty"` // portals to leave out, if none are named
}

// The defaults of a get request.
const (
	DefaultMode     = "probe"
	DefaultSchedule = "LIFO"
	DefaultCutoff   = -1
)

// Decode reads the body of a get request. A portal that is named twice is there once.
func (g *Get) Decode(body []byte) error {
	*g = Get{Mode: DefaultMode, Schedule: DefaultSchedule, Cutoff: DefaultCutoff}
	p := &parser{in: body, lax: true}
	if !p.open('{', "the body") {
		return p.end()
	}
	var portals, mode, schedule, cutoff, except bool // they were there
	for first := true; p.next(&first, '}'); {
		switch name := p.name(); string(name) {
		case "portals":
			p.once(&portals, "portals")
			g.portals(p)
		case "mode":
			p.once(&mode, "mode")
			g.Mode = p.enum("mode", "probe", "watch", "stream")
		case "schedule":
			p.once(&schedule, "schedule")
			g.Schedule = p.enum("schedule", "LIFO", "FIFO")
		case "cutoff":
			p.once(&cutoff, "cutoff")
			g.Cutoff = p.integer("cutoff")
		case "except":
			p.once(&except, "except")
			p.value("except", &g.Except)
		default:
			p.fail("unknown name %s; a get has portals, mode, schedule and cutoff", show(name))
		}
	}
	if !portals {
		p.fail("portals is missing; an empty list asks for the latest of every portal")
	}
	return p.end()
}

// once fails if the name was seen before.
func (p *parser) once(seen *bool, name string) {
	if *seen {
		p.fail("%s: it is there twice", name)
	}
	*seen = true
}

func (p *parser) enum(what string, allowed ...string) string {
	s := p.string(what)
	for _, a := range allowed {
		if string(s) == a {
			return a
		}
	}
	if p.err == nil {
		p.wrong("%s: one of %s is wanted", what, strings.Join(allowed, ", "))
	}
	return string(s)
}

func (g *Get) portals(p *parser) {
	if p.null() || !p.open('[', "portals") {
		return
	}
	known := make(map[string]int)
	for first := true; p.next(&first, ']'); {
		portal := g.portal(p)
		if at, twice := known[portal.ID]; twice {
			g.Portals[at].Since = min(g.Portals[at].Since, portal.Since)
			continue
		}
		known[portal.ID] = len(g.Portals)
		g.Portals = append(g.Portals, portal)
	}
}

func (g *Get) portal(p *parser) (portal Portal) {
	if !p.open('{', "portals") {
		return portal
	}
	var id []byte
	var stamped, placed bool
	for first := true; p.next(&first, '}'); {
		switch name := p.name(); string(name) {
		case "portalid":
			if id != nil {
				p.fail("portals: portalid: it is there twice")
			}
			id = p.string("portalid")
		case "servertimestamp":
			p.once(&stamped, "portals: servertimestamp")
			portal.Since = p.integer("servertimestamp")
		case "after":
			p.once(&placed, "portals: after")
			p.value("portals: after", &portal.After)
		default:
			p.fail("portals: unknown name %s; a portal has portalid and servertimestamp", show(name))
		}
	}
	if id == nil {
		p.fail("portals: portalid is missing")
	} else if bad := CheckPortalID(id); bad != "" {
		p.wrong("portalid: %s", bad)
	}
	portal.ID = string(id)
	return portal
}

// DecodeTexts reads an object whose values are texts. names are those that may be there;
// the first required of them must.
func DecodeTexts(body []byte, required int, names ...string) ([]string, error) {
	p := &parser{in: body, lax: true}
	values, seen := make([]string, len(names)), make([]bool, len(names))
	if !p.open('{', "the body") {
		return nil, p.end()
	}
	for first := true; p.next(&first, '}'); {
		name := p.name()
		i := slices.Index(names, string(name))
		switch {
		case p.err != nil:
		case i < 0:
			p.fail("unknown name %s; wanted are %v", show(name), names)
		case seen[i]:
			p.fail("%s: it is there twice", name)
		default:
			values[i], seen[i] = string(p.string(names[i])), true
		}
	}
	for i, name := range names[:required] {
		if !seen[i] {
			p.fail("%s is missing", name)
		}
	}
	return values, p.end()
}

// show quotes what a stranger sent, bounded.
func show(s []byte) string {
	const most = 40
	if len(s) > most {
		s = s[:most]
	}
	return fmt.Sprintf("%q", s)
}

// AppendSet appends the beginning of a set request; [AppendSetItem] adds items and [AppendSetEnd] the end.
func AppendSet(dst []byte) []byte { return append(dst, `{"items":[`...) }

// AppendSetItem appends an item. The payload must be UTF-8.
func AppendSetItem[T string | []byte](dst []byte, portal string, payload T) []byte {
	if dst[len(dst)-1] == '}' {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"portalid":"`...)
	dst = append(dst, portal...)
	dst = append(dst, `","payload":`...)
	dst = AppendText(dst, []byte(payload))
	return append(dst, '}')
}

// AppendSetEnd ends a set request.
func AppendSetEnd(dst []byte) []byte { return append(dst, `]}`...) }

// SetOverhead is the length of a set request without items.
const SetOverhead = len(`{"items":[]}`)

// SetItemSize is how many bytes an item adds to a set request, the comma to the next one included.
func SetItemSize[T string | []byte](portal string, payload T) int {
	return len(`{"portalid":"","payload":},`) + len(portal) + textSize([]byte(payload))
}
