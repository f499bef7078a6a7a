package file_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// FuzzCheckpoint opens a follower with any checkpoint: it is refused for good, or the follower
// looks at the files, and what it saves can be loaded again. DIR in a checkpoint stands for the
// folder.
func FuzzCheckpoint(f *testing.F) {
	for _, text := range []string{
		"", "{}", "{]", "null", "[]", `{"paths":["DIR/*.log"],"files":[]}`, `{"paths":[""],"files":[{}]}`,
		`{"paths":["DIR/*.log"],"files":[{"path":"DIR/a.log","at":"DIR/a.log","id":"1","inode":{"dev":1,"ino":2,"born":3},"front":{"size":2,"sum":"00"},` +
			`"offset":2,"tail":{"size":2,"sum":"00"},"size":4,"pending":1}]}`,
		`{"files":[{"path":"DIR/a.log","at":"/","offset":-1,"size":-9223372036854775808,"pending":-5,"front":{"size":-1},"tail":{"size":9223372036854775807}}]}`,
		`{"files":[{"path":"DIR/a.log","offset":9223372036854775807,"done":true},{"path":"DIR/a.log","left":true},{"path":"DIR/b.log","at":"DIR/a.log"}]}`,
	} {
		f.Add([]byte(text), []byte("1\n2\n"))
	}
	f.Fuzz(func(t *testing.T, data, content []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.log")
		put(t, path, string(content)+"\n")
		var checkpoint bridge.MemoryCheckpoint
		if err := checkpoint.Save(t.Context(), bytes.ReplaceAll(data, []byte("DIR"), []byte(dir))); err != nil {
			t.Fatal(err)
		}
		for again := range 2 {
			s := file.Connector().Source.Settings().(*file.SourceSettings)
			s.Path, s.Follow = []string{filepath.Join(dir, "*.log")}, true
			env := bridgetest.Env(t, "from")
			env.Checkpoint = &checkpoint
			source, err := file.Connector().Source.Open(t.Context(), s, env)
			if err != nil {
				if !bridge.IsPermanent(err) || again > 0 {
					t.Fatal(err)
				}
				return
			}
			// It may know the file as read, and have nothing to say.
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, ack, err := source.Read(ctx)
			cancel()
			if err == nil {
				if err := ack(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
			if err := source.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
