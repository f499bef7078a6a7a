package wire

import (
	"fmt"
	"strconv"
)

// Item is an item of an answer. Its texts alias the input, or memory of the [Answer].
type Item struct {
	PortalID        []byte
	Payload         []byte
	ServerTimestamp int64
}

// Place is where an item is in its portal. The zero value is none.
type Place struct {
	Life   int64 `json:"life"`   // tells one numbering of the portal from another; positive
	Number int64 `json:"number"` // of the item, from 1
}

// AppendPlace appends the place of an item to places of others.
func AppendPlace(dst []byte, portal string, p Place) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	return fmt.Appendf(dst, `"%s":{"life":%d,"number":%d}`, portal, p.Life, p.Number)
}

// Failure is the error in an answer.
type Failure struct {
	Group   int    `json:"errorgroup"`
	Code    int    `json:"errorcode"`
	Message string `json:"errormessage"`
}

// Answer is any answer of the server, or a line of a stream. It may be used again for the next one.
type Answer struct {
	Items           []Item
	ServerTimestamp int64
	Places          map[string]Place // of the first item of each portal, if the server tells
	Failure         *Failure         // nil if there is none
	text            []byte
}

// Decode reads an answer, or a line of a stream.
func (a *Answer) Decode(in []byte) error {
	p := parser{in: in, text: a.text[:0]}
	clear(a.Places)
	*a = Answer{Items: a.Items[:0], Places: a.Places}
	a.body(&p)
	a.text = p.text
	return p.end()
}

func (a *Answer) body(p *parser) {
	if !p.open('{', "the answer") {
		return
	}
	for first := true; p.next(&first, '}'); {
		switch string(p.name()) {
		case "items":
			if p.null() || !p.open('[', "items") {
				continue
			}
			for first := true; p.next(&first, ']'); {
				a.item(p)
			}
		case "servertimestamp":
			a.ServerTimestamp = p.integer("servertimestamp")
		case "places":
			p.value("places", &a.Places)
		case "error":
			p.value("error", &a.Failure)
		default:
			p.skip(0)
		}
	}
}

func (a *Answer) item(p *parser) {
	var item Item
	if !p.open('{', "items") {
		return
	}
	for first := true; p.next(&first, '}'); {
		switch string(p.name()) {
		case "portalid":
			item.PortalID = p.string("portalid")
		case "payload":
			item.Payload = p.string("payload")
		case "servertimestamp":
			item.ServerTimestamp = p.integer("servertimestamp")
		default:
			p.skip(0)
		}
	}
	if item.PortalID == nil || item.Payload == nil {
		p.fail("items: portalid or payload is missing")
	}
	a.Items = append(a.Items, item)
}

// AppendUnstamped appends the beginning of an item as it stands in answers; [AppendStamp]
// completes it. text is the payload as [AppendText] writes it.
func AppendUnstamped(dst, portal, text []byte) []byte {
	dst = append(dst, `{"portalid":"`...)
	dst = append(dst, portal...)
	dst = append(dst, `","payload":`...)
	return append(dst, text...)
}

// AppendStamp appends the timestamp and the end of an item.
func AppendStamp(dst []byte, timestamp int64) []byte {
	dst = append(dst, `,"servertimestamp":`...)
	dst = strconv.AppendInt(dst, timestamp, 10)
	return append(dst, '}')
}

// ItemSize is an upper bound of the length of an item as it stands in answers.
func ItemSize(portal, text []byte) int {
	return len(`{"portalid":"","payload":,"servertimestamp":-9223372036854775808}`) + len(portal) + len(text)
}

// StampSlack is by how much [ItemSize] is too large for the timestamps of our days.
const StampSlack = len("-9223372036854775808") - len("1795327834812")

// AnswerOverhead is the length of an answer around its items, without line end, and without places.
const AnswerOverhead = len(`{"items":[]}`)

// AppendAnswer appends an answer of items that [AppendUnstamped] and [AppendStamp] made, with
// places that [AppendPlace] made. What is empty is left out.
func AppendAnswer(dst []byte, items [][]byte, places []byte) []byte {
	if len(items) == 0 {
		return append(dst, "{}"...)
	}
	dst = append(dst, `{"items":[`...)
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, item...)
	}
	dst = append(dst, ']')
	if len(places) > 0 {
		dst = append(dst, `,"places":{`...)
		dst = append(dst, places...)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// AppendTimestamp appends the answer to a set or a login.
func AppendTimestamp(dst []byte, timestamp int64) []byte {
	dst = append(dst, `{"servertimestamp":`...)
	dst = strconv.AppendInt(dst, timestamp, 10)
	return append(dst, '}')
}
