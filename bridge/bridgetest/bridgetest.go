// Package bridgetest checks sources and sinks against the contracts of
// package bridge. Every connector runs its suites; so should every plugin.
package bridgetest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Timeout is how long the suites wait for something that must happen. It is
// generous, since machines may be busy: it decides only when a broken connector is given up.
const Timeout = 2 * time.Minute

// Parallel lets so many parallel tests run for each processor, where most of them wait for others.
// TestMain calls it; a -parallel of the user counts all the same.
func Parallel(perProcessor int) {
	if err := flag.Set("test.parallel", strconv.Itoa(perProcessor*runtime.GOMAXPROCS(0))); err != nil {
		panic(err) // this is no test
	}
}

// Features says what a technology can do; the suites test the rest.
type Features struct {
	Redelivers bool // a new source instance delivers again what was read and not acknowledged
	Nack       bool // so does the same instance, after Ack with an error
	Headers    bool // headers arrive
	Topics     bool // Message.Topic arrives
	Binary     bool // payloads may hold any bytes, newlines among them
	IDs        bool // a source gives each message a Message.ID, the same when it comes again

	MaxPayload int // bytes of the largest payload; 0: as large as the suites have
}

// Env returns an Env for instance, which logs to the test, counts nothing and has a checkpoint of
// its own.
func Env(t testing.TB, instance string) bridge.Env {
	return bridge.Env{
		Pipeline: t.Name(),
		Instance: instance,
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Stdin:    strings.NewReader(""),
		Stdout:   io.Discard,
		MaxBatch: 256,
		Dropped:  func(int) {},
		Progress: func(done, total int64) {},
		NeedID:   func() {},

		Checkpoint: new(bridge.MemoryCheckpoint),
	}
}

// Eventually waits until the condition holds, asking again every few
// milliseconds, and fails the test after [Timeout].
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(Timeout)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", Timeout, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// Reach waits until count returns n or more, and fails the test when it has not grown for
// [Timeout]: how long much takes is the machine's affair.
func Reach(t testing.TB, what string, n int, count func() int) {
	t.Helper()
	for have := count(); have < n; have = count() {
		Eventually(t, fmt.Sprintf("more than %d of %d %s", have, n, what), func() bool { return count() > have })
	}
}

// SourceTest is one source under test with its upstream.
type SourceTest struct {
	// Open opens an instance. Opening again after closing goes on with the same upstream.
	Open func(ctx context.Context, env bridge.Env) (bridge.Source, error)
	// Send puts messages into the upstream. They need not arrive before it returns.
	Send func(t *testing.T, messages ...bridge.Message)
	// Finish, if not nil, ends the input: Read returns io.EOF after the last message.
	Finish func(t *testing.T)

	Features
}

// SinkTest is one sink under test with its downstream.
type SinkTest struct {
	// Open opens an instance. Opening again after closing goes on with the same downstream.
	Open func(ctx context.Context, env bridge.Env) (bridge.Sink, error)
	// Receive waits until n messages in all have arrived downstream and returns them
	// in order of arrival.
	Receive func(t *testing.T, n int) []bridge.Message
	// Refused, if not nil, makes a message that the sink can never take, whatever stands around it.
	Refused func() bridge.Message

	Features
}

// TestSource runs the suite for sources. start makes a fresh upstream for each
// test, and cleans up with t.Cleanup.
func TestSource(t *testing.T, start func(t *testing.T) SourceTest) {
	for _, c := range sourceCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
	}
}

// TestSink runs the suite for sinks. start makes a fresh downstream for each
// test, and cleans up with t.Cleanup.
func TestSink(t *testing.T, start func(t *testing.T) SinkTest) {
	for _, c := range sinkCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
	}
}
