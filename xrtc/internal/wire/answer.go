package wire

import (
	"strconv"
	"strings"
)

// Item is an item of an answer. Its texts alias the input, or memory of the [Answer].
type Item struct {
	PortalID        []byte
	Payload         []byte
	ServerTimestamp int64
}

// Failure is the error in an answer.
type Failure struct {
	Group, Code int
	Message     string
}

// Answer is any answer of the server, or a line of a stream. It may be used again for the next one.
type Answer struct {
	Items           []Item
	ServerTimestamp int64
	Missed          int64    // items that were gone before they could be sent, if the server tells
	Failure         *Failure // nil if there is none
	text            []byte
}

// Decode reads an answer, or a line of a stream.
func (a *Answer) Decode(in []byte) error {
	p := parser{in: in, text: a.text[:0]}
	*a = Answer{Items: a.Items[:0]}
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
		case "missed":
			a.Missed = p.integer("missed")
		case "error":
			a.failure(p)
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

func (a *Answer) failure(p *parser) {
	if p.null() {
		return
	}
	a.Failure = new(Failure)
	if !p.open('{', "error") {
		return
	}
	for first := true; p.next(&first, '}'); {
		switch string(p.name()) {
		case "errorgroup":
			a.Failure.Group = int(p.integer("errorgroup"))
		case "errorcode":
			a.Failure.Code = int(p.integer("errorcode"))
		case "errormessage":
			a.Failure.Message = string(p.string("errormessage"))
		default:
			p.skip(0)
		}
	}
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

// AnswerOverhead is the length of an answer around its items, without line end, and without missed.
const AnswerOverhead = len(`{"items":[]}`)

// AppendAnswer appends an answer of items that [AppendUnstamped] and [AppendStamp] made. missed is left out if it is 0.
func AppendAnswer(dst []byte, items [][]byte, missed int64) []byte {
	dst = append(dst, '{')
	if len(items) > 0 {
		dst = append(dst, `"items":[`...)
		for i, item := range items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, item...)
		}
		dst = append(dst, ']')
	}
	if missed > 0 {
		if len(items) > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `"missed":`...)
		dst = strconv.AppendInt(dst, missed, 10)
	}
	return append(dst, '}')
}

// AppendTimestamp appends the answer to a set or a login.
func AppendTimestamp(dst []byte, timestamp int64) []byte {
	dst = append(dst, `{"servertimestamp":`...)
	dst = strconv.AppendInt(dst, timestamp, 10)
	return append(dst, '}')
}

// AppendFailure appends an error. What is not UTF-8 in the message becomes U+FFFD.
func AppendFailure(dst []byte, f Failure) []byte {
	dst = append(dst, `{"error":{"errorgroup":`...)
	dst = strconv.AppendInt(dst, int64(f.Group), 10)
	dst = append(dst, `,"errorcode":`...)
	dst = strconv.AppendInt(dst, int64(f.Code), 10)
	dst = append(dst, `,"errormessage":`...)
	dst = AppendText(dst, []byte(strings.ToValidUTF8(f.Message, "\uFFFD")))
	return append(dst, "}}"...)
}

// MissedSize is the most that missed adds to an answer.
const MissedSize = len(`,"missed":`) + 20
