package pluginpb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Any batch comes out as it went in, through the bytes of the wire, and as much of it as fits takes
// no more than the limit.
func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"a", "b", "sensors/kitchen/temp", "ä\xff"}),
			rapid.String())
		var batch bridge.Batch
		for range rapid.IntRange(0, 50).Draw(t, "messages") {
			m := bridge.Message{
				ID: text.Draw(t, "id"), Topic: text.Draw(t, "topic"),
				Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			}
			if n := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "time"); n%3 != 0 {
				m.Time = time.Unix(0, n)
			}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				if m.Header == nil {
					m.Header = make(map[string]string)
				}
				m.Header[text.Draw(t, "name")] = text.Draw(t, "value")
			}
			batch = append(batch, m)
		}
		limit := rapid.SampledFrom([]int{100, 1000, 1 << 20}).Draw(t, "limit")
		packed, n := pluginpb.NewBatch(batch, limit)
		if size := proto.Size(packed); size > limit+100 {
			t.Fatalf("%d bytes, and the limit is %d", size, limit)
		}
		if n < len(batch) && limit == 1<<20 {
			t.Fatalf("%d of %d messages fit into a megabyte", n, len(batch))
		}
		wire, err := proto.Marshal(packed)
		if err != nil {
			t.Fatal(err)
		}
		var again pluginpb.Batch
		if err := proto.Unmarshal(wire, &again); err != nil {
			t.Fatal(err)
		}
		got, err := again.Messages()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(batch[:n], got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func FuzzMessages(f *testing.F) {
	packed, _ := pluginpb.NewBatch(bridge.Batch{
		{ID: "1", Topic: "t", Payload: []byte("x"), Header: map[string]string{"k": "v"}, Time: time.Unix(1, 2)}, {Topic: "u"},
	}, 1000)
	wire, err := proto.Marshal(packed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, wire []byte) {
		var b pluginpb.Batch
		if proto.Unmarshal(wire, &b) != nil {
			return
		}
		batch, err := b.Messages()
		if err != nil {
			return
		}
		if len(batch) != len(b.PayloadSizes) {
			t.Fatalf("%d messages of %d", len(batch), len(b.PayloadSizes))
		}
		if _, n := pluginpb.NewBatch(batch, 1<<30); n != len(batch) {
			t.Fatalf("packed %d of %d", n, len(batch))
		}
	})
}

func TestMalformedBatches(t *testing.T) {
	for want, b := range map[string]*pluginpb.Batch{
		"payloads end too early":              {Payloads: []byte("x"), PayloadSizes: []uint32{1, 1}},
		"topics has 1 entries for 2 messages": {PayloadSizes: []uint32{0, 0}, Topics: []uint32{0}},
		"topic 1 of 1 names":                  {PayloadSizes: []uint32{0}, Topics: []uint32{1}, Names: [][]byte{nil}},
		"headers end too early":               {PayloadSizes: []uint32{0}, HeaderCounts: []uint32{1 << 31}},
		"1 header names for 0 values": {
			PayloadSizes: []uint32{0}, HeaderCounts: []uint32{1},
			HeaderNames: []uint32{0},
		},
		"header name 7 of 0 names": {
			PayloadSizes: []uint32{0}, HeaderCounts: []uint32{1},
			HeaderNames: []uint32{7}, HeaderValueSizes: []uint32{0},
		},
		"header values end too early": {
			PayloadSizes: []uint32{0}, HeaderCounts: []uint32{1},
			HeaderNames: []uint32{0}, HeaderValueSizes: []uint32{9}, Names: [][]byte{nil},
		},
		"ids end too early":                  {PayloadSizes: []uint32{0}, IdSizes: []uint32{1 << 31}},
		"times has 2 entries for 1 messages": {PayloadSizes: []uint32{0}, Times: []int64{1, 2}},
	} {
		if _, err := b.Messages(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// S41: headers of one name over and over make no room for as many.
func TestS41ManyHeadersOfOneName(t *testing.T) {
	const n = 1 << 20
	b := &pluginpb.Batch{
		PayloadSizes: []uint32{0}, Names: [][]byte{[]byte("a")}, HeaderCounts: []uint32{n},
		HeaderNames: make([]uint32, n), HeaderValueSizes: make([]uint32, n),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all, err := b.Messages()
	runtime.ReadMemStats(&after)
	if err != nil || len(all) != 1 || len(all[0].Header) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("it took %d kB", took>>10)
	}
}

// The kind of an error survives, whatever is wrapped around it.
func TestErrorKinds(t *testing.T) {
	other := errors.New("x")
	for _, c := range []struct {
		err  error
		kind pluginpb.Error_Kind
	}{
		{io.EOF, pluginpb.Error_EOF},
		{fmt.Errorf("connection: %w", io.EOF), pluginpb.Error_OTHER}, // it broke
		{bridge.Permanent(other), pluginpb.Error_PERMANENT},
		{fmt.Errorf("write: %w", bridge.Permanent(other)), pluginpb.Error_PERMANENT},
		{fmt.Errorf("read: %w", context.Canceled), pluginpb.Error_CANCELED},
		{context.DeadlineExceeded, pluginpb.Error_OTHER},
		{errors.New("\xff"), pluginpb.Error_OTHER},
	} {
		e := pluginpb.NewError(c.err)
		back := e.Err()
		if e.Kind != c.kind || bridge.IsPermanent(back) != bridge.IsPermanent(c.err) ||
			errors.Is(back, context.Canceled) != errors.Is(c.err, context.Canceled) ||
			(back == io.EOF) != (c.err == io.EOF) || back.Error() != strings.ToValidUTF8(c.err.Error(), "�") {
			t.Errorf("%v became %v, %v", c.err, e, back)
		}
	}
	if pluginpb.NewError(nil) != nil || (*pluginpb.Error)(nil).Err() != nil {
		t.Error("nil is an error")
	}
	if err := (&pluginpb.Error{Kind: 9, Text: "x"}).Err(); err == nil ||
		!strings.Contains(err.Error(), "error kind 9, which this side does not know") {
		t.Errorf("an unknown kind is %v", err)
	}
}
