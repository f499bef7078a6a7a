package mqtt

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// The headers that are no user properties of MQTT 5.
const (
	ownHeaders        = "mqtt_" // what they begin with
	headerRetained    = ownHeaders + "retained"
	headerContentType = ownHeaders + "content_type"
	headerFormat      = ownHeaders + "payload_format"
	headerResponse    = ownHeaders + "response_topic"
	headerCorrelation = ownHeaders + "correlation_data" // in base64
	headerExpiry      = ownHeaders + "expiry"           // in seconds
	headerProperties  = ownHeaders + "properties"       // see pairs
)

// natsHeaders is what the headers begin with that NATS itself adds to a message, and that mean nothing
// elsewhere.
const natsHeaders = "Nats-"

// formatText is the payload format that there is a name for.
const formatText = "utf-8"

// pairs are user properties as they were, in JSON, for what a map does not have of them: an order
// that is not that of the names, several of one name, and names that are not for headers.
type pairs [][2]string

// reader makes headers of properties.
type reader struct {
	retained map[string]string // of a message that has only that
	block    []byte            // that last is of
	flag     bool              // retained, in last
	last     map[string]string
}

// mostCached bounds what is kept of one message for the next.
const mostCached = 4 << 10

// headers returns the headers of a message. Those that are the same as before are the same map.
func (r *reader) headers(block []byte, retained bool) (map[string]string, error) {
	switch {
	case len(block) == 0 && !retained:
		return nil, nil
	case len(block) == 0:
		if r.retained == nil {
			r.retained = map[string]string{headerRetained: "true"}
		}
		return r.retained, nil
	case r.last != nil && retained == r.flag && string(block) == string(r.block):
		return r.last, nil
	}
	h, list, plain, alias := make(map[string]string), pairs(nil), true, false
	err := eachProperty(block, func(p property) {
		switch p.id {
		case propContentType:
			h[headerContentType] = string(p.text)
		case propResponseTopic:
			h[headerResponse] = string(p.text)
		case propCorrelationData:
			h[headerCorrelation] = base64.StdEncoding.EncodeToString(p.text)
		case propExpiry:
			h[headerExpiry] = strconv.Itoa(p.number)
		case propPayloadFormat:
			if p.number == 1 {
				h[headerFormat] = formatText
			}
		case propUser:
			name := string(p.name)
			header := name != "" && !strings.HasPrefix(name, ownHeaders)
			plain = plain && header && (len(list) == 0 || list[len(list)-1][0] < name)
			list = append(list, [2]string{name, string(p.text)})
			if _, twice := h[name]; header && !twice {
				h[name] = string(p.text)
			}
		case propTopicAlias:
			alias = true
		}
	})
	switch {
	case err != nil:
		return nil, err
	case alias:
		return nil, fmt.Errorf("%w: topic alias, which the broker was not told that it may use", errMalformed)
	}
	if !plain && len(list) > 0 {
		b, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		h[headerProperties] = string(b)
	}
	if retained {
		h[headerRetained] = "true"
	}
	if len(h) == 0 {
		h = nil
	}
	if len(block) <= mostCached {
		r.block, r.flag, r.last = append(r.block[:0], block...), retained, h
	}
	return h, nil
}

// writer makes properties of headers.
type writer struct {
	of     map[string]string // that the rest is of
	block  []byte            // what hangs on nothing else
	expiry time.Duration     // from the time of the message on; 0: there is none
	text   bool
	err    error
}

// properties appends those of a message that is published now. A message that has expired has none.
func (w *writer) properties(b []byte, m *bridge.Message, now time.Time) (block []byte, expired bool, err error) {
	if len(m.Header) == 0 {
		return b, false, nil
	}
	if w.of == nil || reflect.ValueOf(m.Header).UnsafePointer() != reflect.ValueOf(w.of).UnsafePointer() {
		w.of, w.expiry, w.text = m.Header, 0, false
		w.err = w.read()
		if len(w.block) > mostCached {
			defer func() { w.of, w.block = nil, nil }()
		}
	}
	if w.err != nil {
		return b, false, w.err
	}
	b = append(b, w.block...)
	if w.text && utf8.Valid(m.Payload) {
		b = append(b, propPayloadFormat, 1)
	}
	if w.expiry > 0 {
		left := w.expiry
		if !m.Time.IsZero() {
			left -= max(0, now.Sub(m.Time)).Truncate(time.Second)
		}
		if left <= 0 {
			return b, true, nil
		}
		b = binary.BigEndian.AppendUint32(append(b, propExpiry), seconds(left))
	}
	return b, false, nil
}

// read makes out what the headers say. An error is a reason to refuse their message.
func (w *writer) read() error {
	b := w.block[:0]
	h := w.of
	if value, there := h[headerContentType]; there {
		if value = escape(value); len(value) > maxTopic {
			return fmt.Errorf("header %s is longer than 65535 bytes", headerContentType)
		}
		b = appendField(append(b, propContentType), value)
	}
	if value, there := h[headerResponse]; there {
		if err := checkTopic(value); err != nil {
			return fmt.Errorf("header %s is %.100q: %w", headerResponse, value, err)
		}
		b = appendField(append(b, propResponseTopic), value)
	}
	if value, there := h[headerCorrelation]; there {
		data, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(data) > maxTopic {
			return fmt.Errorf("header %s is %.100q, not 64 KiB at most in base64", headerCorrelation, value)
		}
		b = appendField(append(b, propCorrelationData), data)
	}
	if value, there := h[headerExpiry]; there {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("header %s is %.100q, not a number of seconds", headerExpiry, value)
		}
		w.expiry = max(time.Duration(n)*time.Second, 1)
	}
	w.text = h[headerFormat] == formatText
	for _, p := range userProperties(h) {
		name, value := escape(p[0]), escape(p[1])
		if len(name) > maxTopic || len(value) > maxTopic {
			return fmt.Errorf("header %.100q is longer than 65535 bytes, as a property of MQTT 5 may be", name)
		}
		b = appendField(appendField(append(b, propUser), name), value)
	}
	w.block = b
	return nil
}

// userProperties returns those that are in headers: first those of the list that came with the
// message and are still there, as they stood there, then the others by their names, but for those of
// NATS.
func userProperties(h map[string]string) pairs {
	var all, listed pairs
	if list := h[headerProperties]; list != "" {
		_ = json.Unmarshal([]byte(list), &listed) // what somebody else has written there may be anything
	}
	done := make(map[string]bool, len(listed))
	for _, p := range listed {
		value, there := h[p[0]]
		switch {
		case p[0] == "" || strings.HasPrefix(p[0], ownHeaders):
		case !there: // a step has taken it away
			continue
		case !done[p[0]]: // a step may have changed it
			p[1] = value
		}
		done[p[0]] = true
		all = append(all, p)
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name != "" && !done[name] && !strings.HasPrefix(name, ownHeaders) && !strings.HasPrefix(name, natsHeaders) {
			all = append(all, [2]string{name, h[name]})
		}
	}
	return all
}

// escape writes as %XX what is no text of MQTT, or makes brokers hang up.
func escape(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, hangUp) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || hangUp(r) {
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}
