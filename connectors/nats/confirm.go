package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of the server for what it refuses for good, as things are.
const (
	tooLarge       = 10054 // a message larger than the stream's max_msg_size
	otherStream    = 10060 // the subject belongs to a stream that is not the expected one
	tooManyHeaders = 10097 // more than 64 KiB
	invalidConfig  = 10052 // of a stream
	noReplicas     = 10074 // a server that is no cluster has no replicas
	tooManyPending = 10121 // max_ack_pending above a limit of the server or the stream
	sealed         = 10109 // the stream takes nothing any more
	noIncrement    = 10169 // the stream counts, and takes nothing else
	otherRevision  = 10071 // the key has not the revision that it must have
	invalidTTL     = 10165 // of a message
	noRollup       = 10111 // the stream lets no message replace others, as one that purges a key does
)

var errRevision = errors.New("the key has another revision than it must have")

// confirmation reads what JetStream says to a message for that stream, empty for any. known means
// that it had one of that id already, refused that it will never take this one.
func confirmation(m *nats.Msg, stream string) (known bool, refused, err error) {
	// This is how the server begins when all is well, and JSON is slow.
	if bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) && !bytes.Contains(m.Data, []byte(`"error"`)) &&
		!bytes.Contains(m.Data, []byte(`"duplicate"`)) {
		return false, nil, nil
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		if stream != "" {
			stream = fmt.Sprintf(", %q mirrors another, does not either or does not exist", stream)
		}
		return false, nil, fmt.Errorf("no stream takes that subject%s: create one, or declare it under streams, "+
			"a bucket under buckets", stream)
	}
	var answer struct {
		Error     *jetstream.APIError `json:"error"`
		Stream    string              `json:"stream"`
		Duplicate bool                `json:"duplicate"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil || answer.Error == nil && answer.Stream == "":
		return false, nil, fmt.Errorf("no confirmation but %.100q", m.Data)
	case answer.Error == nil:
		return answer.Duplicate, nil, nil
	}
	switch answer.Error.ErrorCode {
	case otherStream:
		return false, fmt.Errorf("not the stream that the setting stream names, %q, takes that subject, "+
			"but another: correct one of the two", stream), nil
	case otherRevision:
		return false, fmt.Errorf("%w: %w", errRevision, answer.Error), nil
	case tooLarge, tooManyHeaders, sealed, noIncrement, invalidTTL, noRollup:
		return false, answer.Error, nil
	default:
		return false, nil, answer.Error
	}
}
