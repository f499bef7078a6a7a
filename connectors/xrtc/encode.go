package xrtc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// mark begins a payload that encode auto has converted: it is a data URL (RFC 2397) without a media
// type.
const mark = "data:;base64,"

// envelope is what a payload holds with envelope: true.
type envelope struct {
	Topic  string            `json:"topic,omitempty"`
	Time   time.Time         `json:"time,omitzero"`
	ID     string            `json:"id,omitempty"` // for who reads it: a source has ids of its own, since who wrote this one may not be alone with it
	Header map[string]string `json:"header,omitempty"`
	Text   *string           `json:"payload,omitempty"`
	Base64 *string           `json:"payload_base64,omitempty"` // instead, if it is not UTF-8
}

// seal returns the envelope of a message.
func seal(m *bridge.Message) ([]byte, error) {
	e := envelope{Topic: m.Topic, Time: m.Time, ID: m.ID, Header: m.Header}
	for _, s := range []string{m.Topic, m.ID} {
		if !utf8.ValidString(s) {
			return nil, errors.New("the topic or id is not UTF-8, which an envelope needs")
		}
	}
	for name, value := range m.Header {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("the header %q is not UTF-8, which an envelope needs", name)
		}
	}
	if utf8.Valid(m.Payload) {
		text := string(m.Payload)
		e.Text = &text
	} else {
		text := base64.StdEncoding.EncodeToString(m.Payload)
		e.Base64 = &text
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&e); err != nil {
		return nil, fmt.Errorf("make envelope: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// unseal restores in m what its payload, an envelope, holds.
func unseal(m *bridge.Message) error {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(m.Payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || len(bytes.TrimSpace(m.Payload[d.InputOffset():])) > 0 {
		return errors.New("not an envelope")
	}
	var payload []byte
	switch {
	case (e.Text == nil) == (e.Base64 == nil):
		return errors.New("an envelope without a payload")
	case e.Text != nil:
		payload = []byte(*e.Text)
	default:
		var err error
		if payload, err = base64.StdEncoding.DecodeString(*e.Base64); err != nil {
			return errors.New("an envelope whose payload is not base64")
		}
	}
	m.Payload, m.Header = payload, e.Header
	if e.Topic != "" {
		m.Topic = e.Topic
	}
	if !e.Time.IsZero() {
		m.Time = e.Time
	}
	return nil
}

// encode returns the text that stands for a payload in a portal. It may alias the payload.
func encode(how string, payload []byte) ([]byte, error) {
	switch how {
	case "base64":
		return base64.StdEncoding.AppendEncode(nil, payload), nil
	case "urlencode":
		return []byte(url.PathEscape(string(payload))), nil
	}
	switch valid := utf8.Valid(payload); {
	case how == "auto" && (!valid || bytes.HasPrefix(payload, []byte(mark))):
		return base64.StdEncoding.AppendEncode([]byte(mark), payload), nil
	case !valid:
		return nil, errors.New("the payload is not UTF-8; encode auto or base64 takes it")
	}
	return payload, nil
}

// decode undoes encode. The result may alias the text.
func decode(how string, text []byte) ([]byte, error) {
	switch how {
	case "auto":
		rest, marked := bytes.CutPrefix(text, []byte(mark))
		if !marked {
			return text, nil
		}
		return unbase64(rest)
	case "base64":
		return unbase64(text)
	case "urlencode":
		payload, err := url.PathUnescape(string(text))
		if err != nil {
			return nil, errors.New("not URL-encoded")
		}
		return []byte(payload), nil
	}
	return text, nil
}

func unbase64(text []byte) ([]byte, error) {
	payload, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, errors.New("not base64")
	}
	return payload, nil
}
