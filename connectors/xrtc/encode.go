package xrtc

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// mark begins a payload that encode auto has converted: it is a data URL (RFC 2397) without a media
// type.
const mark = "data:;base64,"

// seal returns the envelope of a message: all of it, in JSON.
func seal(m *bridge.Message) ([]byte, error) { return m.MarshalJSON() }

// unseal restores in m what its payload, an envelope, holds, but for the id: a source has ids of
// its own, since who wrote this one may not be alone with it.
func unseal(m *bridge.Message) error {
	var inner bridge.Message
	if err := json.Unmarshal(m.Payload, &inner); err != nil {
		return fmt.Errorf("not an envelope: %w", err)
	}
	m.Payload, m.Header = inner.Payload, inner.Header
	m.Topic = cmp.Or(inner.Topic, m.Topic)
	if !inner.Time.IsZero() {
		m.Time = inner.Time
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
