package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

func TestMain(m *testing.M) {
	plugintest.Main(Connector())
	os.Exit(m.Run())
}

func TestSource(t *testing.T) {
	plugintest.Both(t, Connector(), func(t *testing.T, c bridge.Connector) {
		bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
			path := filepath.Join(t.TempDir(), "test.db")
			db, err := open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (text TEXT)"); err != nil {
				t.Fatal(err)
			}
			checkpoint := new(bridge.MemoryCheckpoint)
			return bridgetest.SourceTest{
				Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
					env.Checkpoint = checkpoint
					s, err := c.Source.Open(ctx, &SourceSettings{Path: path, Table: "t", Interval: 5 * time.Millisecond}, env)
					if err != nil {
						return nil, err
					}
					return textOnly{s}, nil
				},
				Send: func(t *testing.T, messages ...bridge.Message) {
					for _, m := range messages {
						if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", string(m.Payload)); err != nil {
							t.Fatal(err)
						}
					}
				},
				Features: bridgetest.Features{Redelivers: true},
			}
		})
	})
}

// textOnly makes the text of a row the payload, which is what the suite compares.
type textOnly struct{ bridge.Source }

func (s textOnly) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	b, ack, err := s.Source.Read(ctx)
	for i := range b {
		b[i].Payload = text(b[i].Payload)
	}
	return b, ack, err
}

func TestSink(t *testing.T) {
	plugintest.Both(t, Connector(), func(t *testing.T, c bridge.Connector) {
		bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
			path := filepath.Join(t.TempDir(), "test.db")
			n := 0
			return bridgetest.SinkTest{
				Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
					s, err := c.Sink.Open(ctx, &SinkSettings{Path: path, Table: `a "table"`}, env)
					if err != nil {
						return nil, err
					}
					return numbered{s, &n}, nil
				},
				Receive:  func(t *testing.T, n int) []bridge.Message { return stored(t, path, n) },
				Features: bridgetest.Features{Topics: true},
			}
		})
	})
}

// numbered gives messages ids, as the engine does.
type numbered struct {
	bridge.Sink
	n *int
}

func (s numbered) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	b = append(bridge.Batch(nil), b...)
	for i := range b {
		*s.n++
		b[i].ID = fmt.Sprint(*s.n)
	}
	return s.Sink.Write(ctx, b)
}

func stored(t *testing.T, path string, n int) []bridge.Message {
	t.Helper()
	db, err := open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), `SELECT topic, payload FROM "a ""table""" ORDER BY rowid`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all []bridge.Message
	for rows.Next() {
		var m bridge.Message
		if err := rows.Scan(&m.Topic, &m.Payload); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if err := rows.Err(); err != nil || len(all) < n {
		t.Fatalf("%d rows, want %d: %v", len(all), n, err)
	}
	return all
}

func text(row []byte) []byte {
	var r struct{ Text string }
	if err := json.Unmarshal(row, &r); err != nil {
		panic(err)
	}
	return []byte(r.Text)
}
