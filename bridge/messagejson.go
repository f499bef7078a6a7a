package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// messageJSON is a Message in JSON. Texts are in one of two fields: JSON knows UTF-8 only, and
// nothing of a message may change. A payload with control characters other than tabs and ends of
// lines is in base64, too, so that what is written has about twice the size of the message at most.
type messageJSON struct {
	Time          time.Time         `json:"time,omitzero"`
	ID            string            `json:"id,omitempty"`
	IDBase64      []byte            `json:"id_base64,omitempty"`
	Topic         string            `json:"topic,omitempty"`
	TopicBase64   []byte            `json:"topic_base64,omitempty"`
	Header        map[string]string `json:"header,omitempty"`
	HeaderBase64  map[string][]byte `json:"header_base64,omitempty"` // names in base64, too
	Payload       *string           `json:"payload,omitempty"`
	PayloadBase64 *[]byte           `json:"payload_base64,omitempty"`
}

// MarshalJSON writes a message as {"time", "id", "topic", "header", "payload"}, on one line. What
// is not valid UTF-8 is in base64, under the same name with _base64 behind it. A payload is there
// always, the others if they are not empty.
func (m Message) MarshalJSON() ([]byte, error) { return marshal(m.json()) }

// UnmarshalJSON is the inverse of MarshalJSON, byte for byte, and refuses what that does not write.
func (m *Message) UnmarshalJSON(text []byte) error {
	var j messageJSON
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&j)
	if err == nil {
		*m, err = j.message()
	}
	return err
}

func (m Message) json() messageJSON {
	j := messageJSON{Time: m.Time}
	j.ID, j.IDBase64 = textOrBytes(m.ID)
	j.Topic, j.TopicBase64 = textOrBytes(m.Topic)
	if text := string(m.Payload); isText(m.Payload) {
		j.Payload = &text
	} else {
		j.PayloadBase64 = &m.Payload
	}
	for k, v := range m.Header {
		if utf8.ValidString(k) && utf8.ValidString(v) {
			if j.Header == nil {
				j.Header = make(map[string]string, len(m.Header))
			}
			j.Header[k] = v
			continue
		}
		if j.HeaderBase64 == nil {
			j.HeaderBase64 = make(map[string][]byte)
		}
		j.HeaderBase64[base64.StdEncoding.EncodeToString([]byte(k))] = []byte(v)
	}
	return j
}

func (j messageJSON) message() (Message, error) {
	m := Message{ID: j.ID + string(j.IDBase64), Topic: j.Topic + string(j.TopicBase64), Header: j.Header, Time: j.Time}
	switch {
	case (j.Payload == nil) == (j.PayloadBase64 == nil):
		return m, errors.New("there must be either payload or payload_base64")
	case j.Payload != nil:
		m.Payload = []byte(*j.Payload)
	default:
		m.Payload = *j.PayloadBase64
	}
	for k, v := range j.HeaderBase64 {
		key, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			return m, fmt.Errorf("header_base64: %w", err)
		}
		if m.Header == nil {
			m.Header = make(map[string]string)
		}
		m.Header[string(key)] = string(v)
	}
	return m, nil
}

func textOrBytes(text string) (string, []byte) {
	if utf8.ValidString(text) {
		return text, nil
	}
	return "", []byte(text)
}

func isText(payload []byte) bool {
	control := bytes.IndexFunc(payload, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' })
	return control < 0 && utf8.Valid(payload)
}

// marshal writes v as people read it: without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}
