package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raising is a plugin whose source has the numbers of a file of which not all are in another one,
// where it notes what was delivered, and whose step raises at what is no number.
const raising = `#!/usr/bin/env python3
import pathlib, sys
sys.path.insert(0, %q)
from xrtcbridge_plugin import Connector, Key, Message, Source, Step, serve

class Numbers(Source):
    guarantee = "at least once"
    ends = True
    keys = {"path": Key(required=True), "done": Key(required=True)}

    def open(self):
        done = pathlib.Path(self.settings["done"])
        known = done.read_text().split() if done.exists() else []
        self.left = pathlib.Path(self.settings["path"]).read_text().split()[len(known):]

    def read(self, ctx):
        if not self.left:
            raise EOFError
        now, self.left = self.left, []
        return [Message(n.encode()) for n in now]

    def ack(self, messages, error):
        if error is None:
            with open(self.settings["done"], "a") as f:
                f.writelines(m.payload.decode() + "\n" for m in messages)

class Twice(Step):
    def process(self, ctx, messages, out):
        for i, m in enumerate(messages):
            out.emit(i, Message(str(2 * int(m.payload)).encode()))

serve(Connector("twice", "numbers, and them doubled", "twice: {}\n", source=Numbers, step=Twice))
`

// An exception in a step in Python is that of one message after a while, which on_error is for; and
// a source in Python is told how far a batch is settled of which the pipeline has stopped.
func TestPythonStepRaises(t *testing.T) {
	t.Parallel()
	helper, dir := filepath.Dir(built(t, "plugin-python", "xrtcbridge-sensor")), t.TempDir()
	program := write(t, dir, "xrtcbridge-twice", fmt.Sprintf(raising, helper))
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "numbers.txt", "1\n2\n3\n4\n5\n6\nseven\n8\n9\nten\n11\n")
	run := func(onError string) (code int, log string) {
		file := write(t, dir, "p.yaml", fmt.Sprintf(`
state: state
fail_fast: true
plugins: {twice: {path: %q}}
pipelines:
  p:
    from: {twice: {path: numbers.txt, done: done.txt}}
    steps: [twice: {}]
    to: {file: {path: out.txt}}
    on_error: %s
`, program, onError))
		p := start(t, dir, nil, "run", file)
		return p.exit(), p.log.String()
	}
	lines := func(file string) []string { return readLines(t, filepath.Join(dir, file)) }
	for range 2 { // the second start has the message at the front
		code, log := run("{retry: {max: 2, initial: 10ms}}")
		if code != exitFailed || !strings.Contains(log, "5 bytes: twice step") ||
			!strings.Contains(log, "invalid literal for int()") {
			t.Fatalf("exit code %d:\n%s", code, log)
		}
		if diff := cmp.Diff(strings.Fields("1 2 3 4 5 6"), lines("done.txt")); diff != "" {
			t.Fatalf("acknowledged (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(strings.Fields("2 4 6 8 10 12"), lines("out.txt")); diff != "" {
			t.Fatalf("delivered (-want +got):\n%s", diff)
		}
	}
	code, log := run("{retry: {max: 2, initial: 10ms}, then: dead_letter, dead_letter: {file: {path: dead.ndjson}}}")
	if code != exitDone {
		t.Fatalf("exit code %d:\n%s", code, log)
	}
	if diff := cmp.Diff(strings.Fields("2 4 6 8 10 12 16 18 22"), lines("out.txt")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	dead := lines("dead.ndjson")
	if len(dead) != 2 || !strings.Contains(dead[0], `"payload":"seven"`) ||
		!strings.Contains(dead[1], `"payload":"ten"`) ||
		!strings.Contains(dead[0], `"attempts":2`) || !strings.Contains(dead[0], `"instance":"p-step"`) {
		t.Errorf("the dead letters are %s", dead)
	}
}
