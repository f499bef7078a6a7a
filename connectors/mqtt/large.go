package mqtt

import (
	"encoding/binary"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// cut hands on the beginning of a PUBLISH that is too large, when there is enough to tell which
// message it is, and skips the rest. Otherwise it sets the size of f to what is needed for that.
func (c *conn) cut(f *frame) (done bool, err error) {
	header, enough := f.header, f.beginning()
	switch {
	case header+enough > f.size:
		return false, fmt.Errorf("%w: PUBLISH", errMalformed)
	case len(f.body) < enough:
		f.size = header + enough
		return false, nil
	}
	size := f.size
	f.body, f.cut = f.body[:min(len(f.body), max(enough, c.limit))], true
	if err := c.dispatch(*f, nil); err != nil {
		return false, err
	}
	c.r += header + len(f.body)
	c.skip = size - header - len(f.body)
	return true, nil
}

// beginning returns how many bytes of the body of a PUBLISH come before its payload, or, while it
// is too short to tell, what it must have.
func (f frame) beginning() int {
	if len(f.body) < 2 {
		return 2
	}
	n := 2 + int(binary.BigEndian.Uint16(f.body))
	if f.qos() > 0 {
		n += 2
	}
	return n
}

// refusals returns Refusals of the messages that were too large, nil if none was.
func (s *source) refusals(refs []ref) error {
	var refused bridge.Refusals
	for i := range refs {
		if refs[i].cut > 0 {
			refused = append(refused, bridge.Refusal{Index: i, Err: fmt.Errorf(
				"packet of %d bytes, max_packet is %d: the payload is the beginning only", refs[i].cut, s.session.conn.limit)})
		}
	}
	if refused == nil {
		return nil
	}
	return refused
}
