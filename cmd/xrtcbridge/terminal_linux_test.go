package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// hostile is what a message holds that wants to be more than text: the title of the window, a
// cleared screen in three spellings, a line that is overwritten, and one that turns around.
const hostile = "go\x1b]0;title\x07 \x1b[2J \u009b2J \x9b2J over\rwritten \u202etxt.exe \u2028 " +
	"\x08\x7f\u00ad\U000e0041 end"

// controls are what of that no terminal must get.
var controls = []string{
	"\x1b]0;", "\x1b[2J", "\u009b", "\x9b2J", "over\r", "\u202e", "\u2028", "\x07", "\x08",
	"\x7f", "\u00ad", "\U000e0041",
}

// What a message holds tells a terminal nothing, whoever prints it, and a pipe gets it as it is.
func TestS34ControlCharactersOnATerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	portals := xrtctest.Start(t, server.Config{})
	c := portals.Config()
	write(t, dir, "xrtc.env", fmt.Sprintf("ACCOUNT_ID=%s\nAPI_KEY=%s\nLOGIN_URL=%[3]s/v1/auth/login\n"+
		"SET_URL=%[3]s/v1/item/set\nGET_URL=%[3]s/v1/item/get\n",
		c.AccountID, c.APIKey, portals.URL))
	valid := strings.ToValidUTF8(hostile, "")
	if _, err := portals.Client(t).Set(t.Context(), xrtc.Item{PortalID: "hall", Payload: valid}); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "in", hostile+"\n")
	write(t, dir, "valid", valid+"\n")
	write(t, dir, "refused.yaml",
		`pipelines: {refused: {from: {generate: {count: 1, topic: "\x1b[2J\u009b2J\u202e"}}, steps: [{filter: json.seq contains topic}], to: discard, on_error: {then: dead_letter}}}`)
	write(t, dir, "owed.yaml", `
state: {dir: owed}
pipelines: {owed: {from: {file: {path: valid}}, to: {nats: {url: "nats://127.0.0.1:1", subject: x}}, buffer: disk}}
`)
	plugins, err := exec.LookPath("xrtcbridge-count")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args string, terminal bool) string {
		t.Helper()
		return printedBy(t, dir, terminal, strings.Fields(args)...)
	}
	run("run refused.yaml", true)
	run("run owed.yaml --for 1s", true)
	for _, args := range []string{
		"run --from file,path=in --to stdio",
		"run --log-level debug --plugin-dir " + filepath.Dir(plugins) + " --from file,path=in --to count",
		"run --log-format json --log-level debug --plugin-dir " + filepath.Dir(plugins) + " --from file,path=in --to count",
		"dead list -c refused.yaml", "dead show -c refused.yaml refused 1", "buffer peek -c owed.yaml owed",
		"buffer export -c owed.yaml owed",
		"portal get", "portal get hall", "portal get hall --json", "portal watch hall --schedule FIFO",
		"run --from file,path=in --to nats,url=nats://127.0.0.1:1,subject={{payload}} --for 1s",
		"portal get hall\x1b[2J\u202e", "run --from \x1b[2J\u202e --to stdio", "\x1b[2J\u202e",
	} {
		got := run(args, true)
		for _, control := range controls {
			if strings.Contains(got, control) {
				t.Errorf("%s: a terminal gets %q in\n%q", args, control, got)
			}
		}
		if strings.HasPrefix(args, "portal get") || strings.HasSuffix(args, "in --to stdio") ||
			strings.Contains(args, "refused 1") {
			if !strings.Contains(got, `\u202e`) && !strings.Contains(got, `\\u202e`) {
				t.Errorf("%s: nothing of it is visible in\n%q", args, got)
			}
		}
	}
	for _, args := range []string{"run --from file,path=in --to stdio", "portal get hall"} {
		want := map[bool]string{true: hostile, false: valid}[strings.HasPrefix(args, "run")]
		if got := run(args, false); !strings.Contains(got, want) {
			t.Errorf("%s: a pipe gets %q", args, got)
		}
		if got := run(args+" --raw", true); !strings.Contains(got, want) {
			t.Errorf("%s --raw: a terminal gets %q", args, got)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"plain\tand\nlines\n": "plain\tand\nlines\n",
		"dos\r\nbare\rend":    "dos\r\nbare" + `\u000dend`,
		"Grüße 日本 👩\u200d🔧 می\u200cخواهم": "Grüße 日本 👩\u200d🔧 می\u200cخواهم",
		"\x1b[0m\x9b\u009b\U000e0041":     `\u001b[0m\x9b\u009b\udb40\udc41`,
		"\u200b\ufeff\u2066":              `\u200b\ufeff\u2066`,
		"\ufffd":                          "\ufffd",
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// printedBy runs xrtcbridge with standard output and error on a terminal, or in a pipe, and returns
// what it prints. The terminal changes nothing of that.
func printedBy(t *testing.T, dir string, terminal bool, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xrtcbridge", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if !terminal {
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	ours, its := openTerminal(t)
	cmd.Stdout, cmd.Stderr = its, its
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = its.Close()
	got, _ := io.ReadAll(ours) // until nobody has the other side open, which is EIO
	_ = cmd.Wait()
	return string(got)
}

// openTerminal makes a terminal without echo and without processing of what is printed.
func openTerminal(t testing.TB) (ours, its *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		bridgetest.Missing(t, "/dev/ptmx")
	}
	t.Cleanup(func() { _ = ours.Close() })
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	its, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	mode, err := unix.IoctlGetTermios(int(its.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO
		err = unix.IoctlSetTermios(int(its.Fd()), unix.TCSETS, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ours, its
}
