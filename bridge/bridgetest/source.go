package bridgetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var sourceCases = []struct {
	name string
	run  func(t *testing.T, s SourceTest)
}{
	{"DeliversInOrder", sourceDeliversInOrder},
	{"ReturnsAtMostMaxBatch", sourceReturnsAtMostMaxBatch},
	{"LoneMessageIsNotHeldBack", sourceLoneMessageIsNotHeldBack},
	{"PayloadsSurvive", sourcePayloadsSurvive},
	{"HeadersSurvive", sourceHeadersSurvive},
	{"BatchStaysValidUntilAck", sourceBatchStaysValidUntilAck},
	{"UnackedComesAgain", sourceUnackedComesAgain},
	{"AckedDoesNotComeAgain", sourceAckedDoesNotComeAgain},
	{"NackedComesAgain", sourceNackedComesAgain},
	{"SettledFrontDoesNotComeAgain", sourceSettledFrontDoesNotComeAgain},
	{"ReadHeedsItsContext", sourceReadHeedsItsContext},
	{"CanceledReadLosesNothing", sourceCanceledReadLosesNothing},
	{"CloseEndsABlockedRead", sourceCloseEndsABlockedRead},
	{"CloseTwice", sourceCloseTwice},
	{"EndOfInput", sourceEndOfInput},
}

func sourceDeliversInOrder(t *testing.T, s SourceTest) {
	r := s.reader(t)
	want := Numbered(1000)
	s.Send(t, want...)
	s.compare(t, want, r.read(len(want)))
}

func sourceReturnsAtMostMaxBatch(t *testing.T, s SourceTest) {
	env := Env(t, "conformance-from")
	env.MaxBatch = 7
	r := s.readerWith(t, env)
	want := Numbered(50)
	s.Send(t, want...)
	s.compare(t, want, r.read(len(want)))
	if r.largest > 7 {
		t.Errorf("a batch had %d messages, MaxBatch is 7", r.largest)
	}
}

func sourceLoneMessageIsNotHeldBack(t *testing.T, s SourceTest) {
	r := s.reader(t)
	for _, m := range Numbered(3) {
		s.Send(t, m)
		s.compare(t, []bridge.Message{m}, r.read(1))
	}
}

func sourcePayloadsSurvive(t *testing.T, s SourceTest) {
	r := s.reader(t)
	for _, m := range payloads(s.Features) {
		s.Send(t, m)
		s.compare(t, []bridge.Message{m}, r.read(1))
	}
}

func sourceHeadersSurvive(t *testing.T, s SourceTest) {
	if !s.Headers {
		t.Skip("this technology has no headers")
	}
	r := s.reader(t)
	want := Numbered(1)
	want[0].Header = map[string]string{"Unit": "celsius", "empty": "", "text": "ä ö: ü"}
	s.Send(t, want...)
	got := r.read(1)
	for k, v := range want[0].Header {
		if g, ok := got[0].Header[k]; !ok || g != v {
			t.Errorf("header %q: got %q (there: %t), want %q", k, g, ok, v)
		}
	}
}

func sourceBatchStaysValidUntilAck(t *testing.T, s SourceTest) {
	r := s.reader(t)
	want := Numbered(200)
	s.Send(t, want[:100]...)
	var got []bridge.Message
	var acks []bridge.Ack
	for len(got) < len(want) {
		if len(got) == 100 {
			s.Send(t, want[100:]...)
		}
		b, ack := r.next()
		got, acks = append(got, b...), append(acks, ack)
	}
	s.compare(t, want, got)
	for _, ack := range acks {
		r.settle(ack, nil)
	}
}

func sourceUnackedComesAgain(t *testing.T, s SourceTest) {
	if !s.Redelivers {
		t.Skip("this technology does not deliver again")
	}
	r := s.reader(t)
	want := Numbered(20)
	s.Send(t, want...)
	var first []bridge.Message
	for len(first) < len(want) {
		b, _ := r.next()
		first = append(first, clone(b)...)
	}
	r.close()
	again := s.reader(t).read(len(want))
	s.compare(t, want, again)
	for i := range again {
		if s.IDs && again[i].ID != first[i].ID {
			t.Errorf("message %d came with ID %q, and again with %q", i, first[i].ID, again[i].ID)
		}
	}
}

func sourceAckedDoesNotComeAgain(t *testing.T, s SourceTest) {
	if !s.Redelivers {
		t.Skip("this technology does not deliver again")
	}
	r := s.reader(t)
	want := Numbered(20)
	s.Send(t, want[:10]...)
	s.compare(t, want[:10], r.read(10))
	r.close()
	s.Send(t, want[10:]...)
	s.compare(t, want[10:], s.reader(t).read(10))
}

// sourceSettledFrontDoesNotComeAgain gives back what stands behind the first ten messages, in the
// middle of a batch perhaps.
func sourceSettledFrontDoesNotComeAgain(t *testing.T, s SourceTest) {
	if !s.Redelivers {
		t.Skip("this technology does not deliver again")
	}
	const settled, total = 10, 20
	r := s.reader(t)
	want := Numbered(total)
	s.Send(t, want...)
	var acks []bridge.Ack
	var sizes []int
	for n := 0; n < total; {
		b, ack := r.next()
		acks, sizes = append(acks, ack), append(sizes, len(b))
		n += len(b)
	}
	for i, n := 0, 0; i < len(acks); i++ {
		var outcome error
		if n+sizes[i] > settled {
			outcome = bridge.GiveBack(max(0, settled-n), errors.New("refused by the test"))
		}
		_ = acks[i](t.Context(), outcome) // one may have ended the connection
		n += sizes[i]
	}
	_ = r.source.Close()
	s.compare(t, want[settled:], s.reader(t).read(total-settled))
}

func sourceNackedComesAgain(t *testing.T, s SourceTest) {
	if !s.Nack {
		t.Skip("this technology cannot refuse a message")
	}
	r := s.reader(t)
	want := Numbered(1)
	s.Send(t, want...)
	b, ack := r.next()
	s.compare(t, want, b)
	r.settle(ack, errors.New("refused by the test"))
	s.compare(t, want, r.read(1))
}

func sourceReadHeedsItsContext(t *testing.T, s SourceTest) {
	r := s.reader(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	b, _, err := r.readCtx(ctx)
	if len(b) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d messages and %v, want context.Canceled", len(b), err)
	}
}

func sourceCanceledReadLosesNothing(t *testing.T, s SourceTest) {
	env := Env(t, "conformance-from")
	env.MaxBatch = 2
	r := s.readerWith(t, env)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want := Numbered(20)
	s.Send(t, want...)
	var got []bridge.Message
	for len(got) < len(want) {
		b, ack, _ := r.readCtx(ctx)
		if len(b) == 0 {
			b, ack = r.next()
		}
		got = append(got, clone(b)...)
		r.settle(ack, nil)
	}
	s.compare(t, want, got)
}

func sourceCloseEndsABlockedRead(t *testing.T, s SourceTest) {
	r := s.reader(t)
	done := make(chan error, 1)
	go func() {
		_, _, err := r.source.Read(context.Background())
		done <- err
	}()
	time.AfterFunc(20*time.Millisecond, func() { _ = r.source.Close() })
	select {
	case err := <-done:
		if err == nil || errors.Is(err, io.EOF) || bridge.IsPermanent(err) {
			t.Errorf("after Close, Read returned %v, want an error that is neither io.EOF nor permanent", err)
		}
	case <-time.After(Timeout):
		t.Fatal("Read goes on after Close")
	}
}

func sourceCloseTwice(t *testing.T, s SourceTest) {
	r := s.reader(t)
	for i := range 2 {
		if err := r.source.Close(); err != nil {
			t.Errorf("Close number %d: %v", i+1, err)
		}
	}
}

func sourceEndOfInput(t *testing.T, s SourceTest) {
	if s.Finish == nil {
		t.Skip("this input has no end")
	}
	want := Numbered(100)
	s.Send(t, want...)
	s.Finish(t)
	r := s.reader(t)
	s.compare(t, want, r.read(100))
	if b, _, err := r.readCtx(t.Context()); len(b) > 0 || err != io.EOF { //nolint:errorlint // as the engine does
		t.Errorf("got %d messages and %v, want io.EOF itself", len(b), err)
	}
}

// reader reads from one open instance and fails its test on anything odd.
type reader struct {
	t       *testing.T
	source  bridge.Source
	largest int
}

func (s SourceTest) reader(t *testing.T) *reader {
	t.Helper()
	return s.readerWith(t, Env(t, "conformance-from"))
}

func (s SourceTest) readerWith(t *testing.T, env bridge.Env) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	source, err := s.Open(ctx, env)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r := &reader{t: t, source: source}
	t.Cleanup(r.close)
	return r
}

func (r *reader) close() {
	if err := r.source.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

func (r *reader) readCtx(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	b, ack, err := r.source.Read(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("nothing was read in %s", Timeout)
	}
	if len(b) > 0 && ack == nil {
		r.t.Fatal("Read returned messages without an ack")
	}
	r.largest = max(r.largest, len(b))
	return b, ack, err
}

// next returns one batch that is not empty.
func (r *reader) next() (bridge.Batch, bridge.Ack) {
	r.t.Helper()
	b, ack, err := r.readCtx(r.t.Context())
	if err != nil {
		r.t.Fatalf("read: %v", err)
	}
	if len(b) == 0 {
		r.t.Fatal("Read returned nothing, without an error")
	}
	return b, ack
}

// read reads and acknowledges n messages.
func (r *reader) read(n int) []bridge.Message {
	r.t.Helper()
	var got []bridge.Message
	for len(got) < n {
		b, ack := r.next()
		got = append(got, clone(b)...)
		r.settle(ack, nil)
	}
	return got
}

func (r *reader) settle(ack bridge.Ack, outcome error) {
	r.t.Helper()
	if err := ack(r.t.Context(), outcome); err != nil {
		r.t.Fatalf("ack: %v", err)
	}
}

// compare checks payloads, and topics where the technology has them.
func (f Features) compare(t *testing.T, want, got []bridge.Message) {
	t.Helper()
	text := func(ms []bridge.Message) []string {
		var out []string
		for _, m := range ms {
			topic := ""
			if f.Topics {
				topic = m.Topic
			}
			p := m.Payload
			if len(p) > 60 {
				p = fmt.Appendf(nil, "%.40q… %d bytes, sum %d", p, len(p), sum(p))
			}
			out = append(out, fmt.Sprintf("%s %q", topic, p))
		}
		return out
	}
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Fatalf("messages differ (-want +got):\n%s", diff)
	}
}

func sum(p []byte) (s uint64) {
	for _, b := range p {
		s = s*31 + uint64(b)
	}
	return s
}

// clone copies messages out of memory that the source may reuse.
func clone(b []bridge.Message) []bridge.Message {
	c := make([]bridge.Message, len(b))
	for i, m := range b {
		c[i] = m
		c[i].Payload = bytes.Clone(m.Payload)
	}
	return c
}
