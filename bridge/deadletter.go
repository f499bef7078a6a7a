package bridge

import (
	"encoding/json"
	"fmt"
	"time"
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

	// What a source has refused is there as far as it could hand it on, unless it says [Whole].
	Incomplete bool `json:"incomplete,omitempty"`

	// The message, in JSON as [Message] is.
	ID      string            `json:"-"`
	Topic   string            `json:"-"`
	Header  map[string]string `json:"-"`
	Time    time.Time         `json:"-"`
	Payload []byte            `json:"-"`
}

// plainLetter has the fields of a DeadLetter without its methods.
type plainLetter DeadLetter

// letterJSON is a DeadLetter in JSON.
type letterJSON struct {
	plainLetter
	messageJSON
}

// MarshalJSON is the inverse of UnmarshalJSON, byte for byte.
func (d DeadLetter) MarshalJSON() ([]byte, error) {
	return marshal(letterJSON{plainLetter(d), d.Message().json()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *DeadLetter) UnmarshalJSON(data []byte) error {
	var j letterJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if p := &j.messageJSON; p.Payload == nil && p.PayloadBase64 == nil { // an empty one was left out once
		p.Payload = new(string)
	}
	m, err := j.message()
	if err != nil {
		return err
	}
	*d = DeadLetter(j.plainLetter)
	d.ID, d.Topic, d.Header, d.Time, d.Payload = m.ID, m.Topic, m.Header, m.Time, m.Payload
	return nil
}

// Encode returns the letter as it is delivered to the sink for dead letters.
func (d *DeadLetter) Encode() ([]byte, error) {
	text, err := d.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write dead letter: %w", err)
	}
	return text, nil
}

// Message returns the message as it was.
func (d *DeadLetter) Message() Message {
	return Message{ID: d.ID, Topic: d.Topic, Header: d.Header, Time: d.Time, Payload: d.Payload}
}
