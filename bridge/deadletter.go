package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// DeadLetter is a message that was refused, with the reason. As a message its payload is this in
// JSON, on one line; its topic and time are those of the original, and its id is that of the
// original and the instance that refused it.
type DeadLetter struct {
	Reason    string    `json:"reason"`
	Pipeline  string    `json:"pipeline"`
	Place     string    `json:"place"`     // source, step or sink
	Connector string    `json:"connector"` // its type
	Instance  string    `json:"instance"`  // see Env.Instance
	Attempts  int       `json:"attempts"`  // at least 1
	First     time.Time `json:"first"`     // attempt
	Last      time.Time `json:"last"`      // attempt

	// The message. In JSON a text that is not valid UTF-8 is in base64, under the same name with
	// _base64 behind it.
	ID      string            `json:"-"`
	Topic   string            `json:"-"`
	Header  map[string]string `json:"-"`
	Time    time.Time         `json:"time,omitzero"`
	Payload []byte            `json:"-"`
}

// plainLetter has the fields of a DeadLetter without its methods.
type plainLetter DeadLetter

// letterJSON is a DeadLetter in JSON. Texts are in one of two fields: JSON knows UTF-8 only, and
// nothing of a message may change. A payload with control characters other than tabs and ends of
// lines is in base64, too, so that a letter has about twice the size of its message at most.
type letterJSON struct {
	plainLetter
	ID            string            `json:"id,omitempty"`
	IDBase64      []byte            `json:"id_base64,omitempty"`
	Topic         string            `json:"topic,omitempty"`
	TopicBase64   []byte            `json:"topic_base64,omitempty"`
	Header        map[string]string `json:"header,omitempty"`
	HeaderBase64  map[string][]byte `json:"header_base64,omitempty"` // names in base64, too
	Payload       string            `json:"payload,omitempty"`
	PayloadBase64 []byte            `json:"payload_base64,omitempty"`
}

// MarshalJSON is the inverse of UnmarshalJSON, byte for byte.
func (d DeadLetter) MarshalJSON() ([]byte, error) {
	j := letterJSON{plainLetter: plainLetter(d)}
	j.ID, j.IDBase64 = textOrBytes(d.ID, utf8.ValidString(d.ID))
	j.Topic, j.TopicBase64 = textOrBytes(d.Topic, utf8.ValidString(d.Topic))
	j.Payload, j.PayloadBase64 = textOrBytes(string(d.Payload), isText(d.Payload))
	for k, v := range d.Header {
		if utf8.ValidString(k) && utf8.ValidString(v) {
			if j.Header == nil {
				j.Header = make(map[string]string, len(d.Header))
			}
			j.Header[k] = v
			continue
		}
		if j.HeaderBase64 == nil {
			j.HeaderBase64 = make(map[string][]byte)
		}
		j.HeaderBase64[base64.StdEncoding.EncodeToString([]byte(k))] = []byte(v)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(j); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func textOrBytes(text string, valid bool) (string, []byte) {
	if valid {
		return text, nil
	}
	return "", []byte(text)
}

func isText(payload []byte) bool {
	control := bytes.IndexFunc(payload, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' })
	return control < 0 && utf8.Valid(payload)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *DeadLetter) UnmarshalJSON(data []byte) error {
	var j letterJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*d = DeadLetter(j.plainLetter)
	d.ID, d.Topic, d.Header = j.ID+string(j.IDBase64), j.Topic+string(j.TopicBase64), j.Header
	d.Payload = append([]byte(j.Payload), j.PayloadBase64...)
	for k, v := range j.HeaderBase64 {
		key, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			return fmt.Errorf("header_base64: %w", err)
		}
		if d.Header == nil {
			d.Header = make(map[string]string)
		}
		d.Header[string(key)] = string(v)
	}
	return nil
}

// Encode returns the letter as it is delivered to the sink for dead letters.
func (d *DeadLetter) Encode() ([]byte, error) {
	text, err := d.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write dead letter: %w", err)
	}
	return bytes.TrimSuffix(text, []byte("\n")), nil
}

// Message returns the message as it was.
func (d *DeadLetter) Message() Message {
	return Message{ID: d.ID, Topic: d.Topic, Header: d.Header, Time: d.Time, Payload: d.Payload}
}

// letterID returns the identity of the letter about a message that an instance refused: several may
// refuse the same one.
func letterID(id, instance string) string {
	if id == "" {
		return ""
	}
	return id + "/" + instance
}
