package wire_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// object is a JSON object as it stands in the text: names may be there twice.
type object []member

type member struct {
	name  string
	value any
}

// tree reads a text by encoding/json. Objects are of type object, and numbers are json.Number. ok
// is false if it is no JSON or no UTF-8, which encoding/json would mend.
func tree(text []byte) (v any, ok bool) {
	if !json.Valid(text) || !utf8.Valid(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return value(d), true
}

// lax is tree for requests, where words need no quotes.
func lax(text []byte) (v any, ok bool) {
	if v, ok := tree(text); ok {
		return v, true
	}
	isWord := func(c rune) bool {
		return c < utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("_.-", c))
	}
	var quoted []byte
	for len(text) > 0 {
		n := len(text) - len(bytes.TrimLeftFunc(text, isWord))
		switch {
		case n > 0 && !json.Valid(text[:n]):
			quoted = append(append(append(quoted, '"'), text[:n]...), '"')
		case n > 0:
			quoted = append(quoted, text[:n]...)
		case text[0] == '"':
			for n = 1; n < len(text) && text[n] != '"'; n++ {
				if text[n] == '\\' {
					n++
				}
			}
			n = min(n+1, len(text))
			quoted = append(quoted, text[:n]...)
		default:
			n = 1
			quoted = append(quoted, text[0])
		}
		text = text[n:]
	}
	return tree(quoted)
}

func value(d *json.Decoder) any {
	token, err := d.Token()
	if err != nil {
		panic(err) // the text is valid
	}
	switch token {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			o = append(o, member{value(d).(string), value(d)})
		}
		_, _ = d.Token()
		return o
	case json.Delim('['):
		l := []any{}
		for d.More() {
			l = append(l, value(d))
		}
		_, _ = d.Token()
		return l
	}
	return token
}

// reader takes a tree apart and notes what is wrong with it.
type reader struct{ text, value bool }

func (r *reader) verdict() string {
	switch {
	case r.text:
		return badText
	case r.value:
		return badValue
	}
	return good
}

// members calls with for each member of an object; a name must not be there twice.
func (r *reader) members(v any, with func(name string, v any)) {
	o, ok := v.(object)
	r.text = r.text || !ok
	var seen []string
	for _, m := range o {
		r.text = r.text || slices.Contains(seen, m.name)
		seen = append(seen, m.name)
		with(m.name, m.value)
	}
}

func (r *reader) list(v any) []any {
	l, ok := v.([]any)
	r.text = r.text || !ok
	return l
}

func (r *reader) string(v any) string {
	s, ok := v.(string)
	r.text = r.text || !ok
	return s
}

func (r *reader) integer(v any) int64 {
	number, _ := v.(json.Number)
	n, err := strconv.ParseInt(number.String(), 10, 64)
	r.text = r.text || err != nil
	return n
}

func (r *reader) portalID(v any) string {
	s := r.string(v)
	other := func(c rune) bool { return c >= utf8.RuneSelf || !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	r.value = r.value || len(s) < 1 || len(s) > 32 || strings.ContainsFunc(s, other)
	return s
}

// std reads what is left to encoding/json: names in any case, or not known, or there twice, and
// null for nothing.
func (r *reader) std(v any, with func(name string, v any)) {
	o, ok := v.(object)
	r.text = r.text || !ok && v != nil
	for _, m := range o {
		if m.value != nil {
			with(strings.ToLower(m.name), m.value)
		}
	}
}

func (r *reader) place(v any) (p wire.Place) {
	r.std(v, func(name string, v any) {
		switch name {
		case "life":
			p.Life = r.integer(v)
		case "number":
			p.Number = r.integer(v)
		}
	})
	return p
}

func (r *reader) set(v any) (items []setItem) {
	there := false
	r.members(v, func(name string, v any) {
		r.text = r.text || name != "items"
		there = true
		for _, v := range r.list(v) {
			var item setItem
			var portal, payload bool
			r.members(v, func(name string, v any) {
				switch name {
				case "portalid":
					item.PortalID, portal = r.portalID(v), true
				case "payload":
					item.Payload, payload = r.string(v), true
				case "servertimestamp":
					r.integer(v)
				default:
					r.text = true
				}
			})
			r.text = r.text || !portal || !payload
			items = append(items, item)
		}
	})
	r.text = r.text || !there
	r.value = r.value || len(items) == 0
	return items
}

func (r *reader) get(v any) wire.Get {
	g := wire.Get{Mode: "probe", Schedule: "LIFO", Cutoff: -1}
	there := false
	r.members(v, func(name string, v any) {
		switch name {
		case "portals":
			there = true
			if v == nil {
				return
			}
			for _, v := range r.list(v) {
				var p wire.Portal
				named := false
				r.members(v, func(name string, v any) {
					switch name {
					case "portalid":
						p.ID, named = r.portalID(v), true
					case "servertimestamp":
						p.Since = r.integer(v)
					case "after":
						p.After = r.place(v)
					default:
						r.text = true
					}
				})
				r.text = r.text || !named
				if i := slices.IndexFunc(g.Portals, func(q wire.Portal) bool { return q.ID == p.ID }); i >= 0 {
					g.Portals[i].Since = min(g.Portals[i].Since, p.Since)
				} else {
					g.Portals = append(g.Portals, p)
				}
			}
		case "mode":
			g.Mode = r.string(v)
			r.value = r.value || !slices.Contains([]string{"probe", "watch", "stream"}, g.Mode)
		case "schedule":
			g.Schedule = r.string(v)
			r.value = r.value || g.Schedule != "LIFO" && g.Schedule != "FIFO"
		case "cutoff":
			g.Cutoff = r.integer(v)
		case "except":
			if v == nil {
				return
			}
			for _, v := range r.list(v) {
				if v == nil {
					v = ""
				}
				g.Except = append(g.Except, r.string(v))
			}
		default:
			r.text = true
		}
	})
	r.text = r.text || !there
	return g
}

// answer reads what an answer says. Names that are not known are passed over.
func (r *reader) answer(v any) (a answer) {
	r.members(v, func(name string, v any) {
		switch {
		case name == "items" && v != nil:
			for _, v := range r.list(v) {
				var i item
				var portal, payload bool
				r.members(v, func(name string, v any) {
					switch name {
					case "portalid":
						i.PortalID, portal = r.string(v), true
					case "payload":
						i.Payload, payload = r.string(v), true
					case "servertimestamp":
						i.ServerTimestamp = r.integer(v)
					}
				})
				r.text = r.text || !portal || !payload
				a.Items = append(a.Items, i)
			}
		case name == "servertimestamp":
			a.ServerTimestamp = r.integer(v)
		case name == "places":
			o, ok := v.(object)
			r.text = r.text || !ok && v != nil
			for _, m := range o {
				if a.Places == nil {
					a.Places = make(map[string]wire.Place)
				}
				a.Places[m.name] = r.place(m.value)
			}
		case name == "error" && v != nil:
			a.Failure = new(wire.Failure)
			r.std(v, func(name string, v any) {
				switch name {
				case "errorgroup":
					a.Failure.Group = int(r.integer(v))
				case "errorcode":
					a.Failure.Code = int(r.integer(v))
				case "errormessage":
					a.Failure.Message = r.string(v)
				}
			})
		}
	})
	return a
}

// simple reports whether no name is there twice, and nothing is nested more than depth deep: in
// answers, it is not said what becomes of that.
func simple(v any, depth int) bool {
	if depth < 0 {
		return false
	}
	switch v := v.(type) {
	case object:
		var seen []string
		for _, m := range v {
			if slices.Contains(seen, m.name) || !simple(m.value, depth-1) {
				return false
			}
			seen = append(seen, m.name)
		}
	case []any:
		return !slices.ContainsFunc(v, func(v any) bool { return !simple(v, depth-1) })
	}
	return true
}
