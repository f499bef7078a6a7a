package server

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"time"
)

// drainMost is how much of a body beyond the limit is read and thrown away. A client that is still
// sending when the connection closes may lose the answer, and many read it only when they have sent
// everything.
const drainMost = 4 << 20

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// What a request without session may hold: it needs some hundred bytes.
const (
	strangeMost    = 4096
	strangeTimeout = 5 * time.Second
)

// readStrange reads the body of a request without session, which has less room and time, and
// nothing of what others have used.
func (s *Server) readStrange(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(strangeTimeout)) // if there is a connection
	body, err := readInto(new([]byte), w, r, strangeMost)
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(s.http.ReadTimeout)) // or the request would count as hung up on then
	s.connLimit.serving(r, false)
	return body, nil
}

// readBody reads the body, whatever its type is said to be. free gives its memory back.
func readBody(w http.ResponseWriter, r *http.Request, most int) (body []byte, free func(), err error) {
	buffer := bodies.Get().(*[]byte)
	free = func() { bodies.Put(buffer) }
	if body, err = readInto(buffer, w, r, most); err != nil {
		free()
		return nil, nil, err
	}
	return body, free, nil
}

// readInto reads a body with the help of buffer.
func readInto(buffer *[]byte, w http.ResponseWriter, r *http.Request, most int) (body []byte, err error) {
	*buffer, err = readMost((*buffer)[:0], r.Body, most+1, r.ContentLength)
	switch {
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, &refusal{group: groupApplication, code: codeParse, text: "the body could not be read to its end"}
	case len(*buffer) > most:
		if n, _ := io.CopyN(io.Discard, r.Body, drainMost); n == drainMost {
			w.Header().Set("Connection", "close")
		}
		return nil, &refusal{
			group: groupApplication, code: codeParse,
			text: fmt.Sprintf("the body is larger than %d bytes", most),
		}
	}
	if kind := r.Header.Get("Content-Type"); isMultipart(kind, *buffer) {
		body, err := firstPart(kind, *buffer)
		if err != nil {
			return nil, &refusal{
				group: groupApplication, code: codeParse,
				text: "a multipart body without a part that can be read",
			}
		}
		return body, nil
	}
	return *buffer, nil
}

// readMost appends what r has to b, until b has most bytes.
func readMost(b []byte, r io.Reader, most int, expected int64) ([]byte, error) {
	size := min(most, 4096)
	if expected >= 0 {
		size = int(min(int64(most), expected+1)) // one more, to see the end without growing
	}
	if cap(b) < size {
		b = make([]byte, 0, size)
	}
	for len(b) < most {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), most)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// isMultipart reports whether a body is what its type says. JSON is JSON under any name.
func isMultipart(contentType string, body []byte) bool {
	const prefix = "multipart/"
	return len(contentType) > len(prefix) && strings.EqualFold(contentType[:len(prefix)], prefix) &&
		!bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// firstPart returns the first part of a multipart body: curl -F sends the JSON so.
func firstPart(contentType string, body []byte) ([]byte, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	part, err := multipart.NewReader(strings.NewReader(string(body)), params["boundary"]).NextPart()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(part)
}
