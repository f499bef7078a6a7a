package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// command runs xrtcbridge to its end.
func command(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xrtcbridge", args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), out.String(), errs.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), errs.String()
}

const tapPipelines = `pipelines:
  numbers:
    from: {generate: {topic: "room/{{ seq % 2 }}\e[2Jü", rate: 200, payload: '{"n": {{ seq }}, "x": "y"}'}}
    steps:
      - filter: json.n % 3 != 0
      - set: {json.twice: "{{ json.n * 2 }}", header.at: "{{ now }}"}
    to: {discard: {}}
`

// A terminal of any width gets what passed, also one that has none yet.
func TestTappedTextOfAnyWidth(t *testing.T) {
	m := &bridge.Message{Topic: "t", Payload: bytes.Repeat([]byte("x"), 70)}
	for _, kind := range []string{"source", "step"} {
		for width := range 40 {
			got := tappedText(&monitor.Tapped{Kind: kind, Message: m, After: []bridge.Message{*m}}, width)
			if strings.Count(got, "x") < 70 {
				t.Errorf("%s, %d columns: %s", kind, width, got)
			}
		}
	}
}

// TestTapCommand looks at a bridge that runs, and records tests of it, from both commands.
func TestTapCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "numbers.yaml", tapPipelines)
	if code, _, errs := command(t, dir, "tap", "numbers", "numbers.yaml"); code != exitNobody ||
		!strings.Contains(errs, "no bridge answers") {
		t.Errorf("without a bridge: %d, %s", code, errs)
	}
	p := start(t, dir, nil, "run", "numbers.yaml", "--log-format", "json")
	p.opened(2)
	bridgetest.Eventually(t, "the bridge answers", func() bool {
		code, _, _ := command(t, dir, "tap", "numbers/from", "-n", "1", "numbers.yaml")
		return code == exitDone
	})

	code, out, errs := command(t, dir, "tap", "numbers/step-2", "-n", "3", "--json", "--when", "json.twice > 10",
		"-c", "numbers.yaml")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitDone || len(lines) != 3 {
		t.Fatalf("%d, %s, %s", code, out, errs)
	}
	for _, line := range lines {
		var one monitor.Tapped
		var before, after struct{ N, Twice int }
		if err := json.Unmarshal([]byte(line), &one); err != nil || len(one.After) != 1 {
			t.Fatalf("%s: %v", line, err)
		}
		if json.Unmarshal(one.Message.Payload, &before) != nil || json.Unmarshal(one.After[0].Payload, &after) != nil ||
			before.Twice != 0 || after.Twice != 2*before.N || after.Twice <= 10 || one.Outcome != monitor.TapChanged {
			t.Errorf("%s", line)
		}
	}
	code, out, errs = command(t, dir, "tap", "numbers/step-2", "-n", "1", "numbers.yaml")
	if code != exitDone || !strings.Contains(out, " step-2  changed\n") || !strings.Contains(out, "> at: 20") ||
		!strings.Contains(out, " | ") || strings.Contains(out, "\x1b") || !strings.Contains(out, `\u001b[2Jü`) {
		t.Errorf("%d, %s, %s", code, out, errs)
	}
	code, out, errs = command(t, dir, "tap", "numbers/to", "-n", "2", "--raw", "numbers.yaml")
	if code != exitDone || strings.Count(out, "\n") != 2 || strings.Count(out, `"twice"`) != 2 {
		t.Errorf("%d, %q, %s", code, out, errs)
	}
	for want, args := range map[string][]string{
		`there is no pipeline "number"; did you mean numbers?`:                        {"number"},
		`there is no place "form"; did you mean from? places: from, step, step-2, to`: {"numbers/form"},
		"when: ":                        {"numbers", "--when", "json.n >"},
		"sample: ":                      {"numbers", "--sample", "often"},
		"-n: ":                          {"numbers", "-n", "-1"},
		"--record goes without a place": {"numbers/to", "--record", "x_test.yaml"},
	} {
		if code, _, errs := command(t, dir,
			append([]string{"tap", "-c", "numbers.yaml"}, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: %d, %s, want %s", args, code, errs, want)
		}
	}

	code, out, errs = command(t, dir, "tap", "numbers", "--record", "numbers_test.yaml", "-n", "7", "numbers.yaml")
	if code != exitDone || !strings.Contains(out, "recorded 7 messages in numbers_test.yaml") {
		t.Fatalf("%d, %s, %s", code, out, errs)
	}
	code, out, errs = command(t, dir, "test", "--record", "numbers", "-n", "3", "numbers.yaml")
	if code != exitDone || !strings.Contains(out, "recorded 3 messages in numbers_test.yaml") {
		t.Fatalf("%d, %s, %s", code, out, errs)
	}
	code, out, errs = command(t, dir, "test", "numbers.yaml")
	if code != exitDone || !strings.Contains(out, "2 tests passed") {
		text, _ := os.ReadFile(filepath.Join(dir, "numbers_test.yaml"))
		t.Errorf("%d, %s, %s: %s", code, out, errs, text)
	}
	p.signal(os.Interrupt)
	p.exit()
}
