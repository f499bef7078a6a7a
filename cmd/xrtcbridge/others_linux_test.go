package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// start starts a bridge of another user, and waits until it runs.
func (p *pod) start(user uint32, opened int, args ...string) *process {
	p.t.Helper()
	b := startCommand(p.t, p.command(context.WithoutCancel(p.t.Context()), user,
		append(args, "--log-format", "json", "--log-level", "info")...))
	b.opened(opened)
	return b
}

// ready waits until a bridge of another user is.
func (p *pod) ready(user uint32, args ...string) {
	p.t.Helper()
	bridgetest.Eventually(p.t, strings.Join(args, " ")+" is ready", func() bool {
		_, code := p.run(user, append([]string{"status"}, args...)...)
		return code == exitDone
	})
}

// said runs a command, and looks for its exit code, and for texts that it has to say or, behind a
// !, must not say.
func (p *pod) said(user uint32, code int, texts []string, args ...string) {
	p.t.Helper()
	out, got := p.run(user, args...)
	for _, text := range texts {
		if text, not := strings.CutPrefix(text, "!"); strings.Contains(out, text) == not {
			p.t.Errorf("%s by user %d: says %q: %t", strings.Join(args, " "), user, text, not)
			got = -1
		}
	}
	if got != code {
		p.t.Errorf("%s by user %d: exit code %d, want %d:\n%s", strings.Join(args, " "), user, got, code, out)
	}
}

// Root looks into the state of another user's bridge while that runs, and leaves nothing of its own
// there; without a bridge, nobody who asks is told to take the folder away from its user.
func TestS37StateOfAnotherUser(t *testing.T) {
	p := newPod(t)
	state := filepath.Join(p.volume, "state")
	p.pipelines("pipelines.yaml", "state: {dir: volume/state}\n")
	if err := os.Lchown(p.volume, podUser, podUser); err != nil {
		t.Fatal(err)
	}
	looks := [][]string{
		{"state", "list"},
		{"state", "show", "a"},
		{"buffer", "status"},
		{"buffer", "peek", "a"},
		{"buffer", "export", "a"},
		{"buffer", "verify", "a"},
		{"dead", "list"},
		{"dead", "show", "a", "1"},
	}
	changes := [][]string{
		{"dead", "replay", "a"}, {"dead", "purge", "a", "--all"}, {"state", "reset", "a"}, {"state", "rename", "a", "b"},
	}
	const sudo = "sudo -u '#4711' xrtcbridge …"
	b := p.start(podUser, 1, "run", "--watch") // which goes on behind the end of its input
	bridgetest.Eventually(t, "there is a dead letter", func() bool {
		out, _ := p.run(podUser, "state", "list")
		return strings.Contains(out, "dead letters")
	})
	for _, args := range looks {
		p.said(0, exitDone, nil, args...)
	}
	p.said(0, exitFailed, []string{sudo, "!chown", "!--shared"}, changes[0]...)
	p.said(0, exitDone, []string{"threw 1 dead letter away"}, changes[1]...)
	p.said(0, exitFailed, []string{"a bridge is using the state"}, changes[2]...)
	b.signal(syscall.SIGTERM)
	if code := b.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for _, args := range append(looks, changes...) {
		args = append(args, "--state", state)
		p.said(0, exitFailed, []string{sudo, "!chown", "!--shared"}, args...)
		p.said(podUser+1, exitFailed, []string{"permission denied", "sudo -u USER", "!chown"}, args...)
	}
	p.said(podUser+1, exitFailed, []string{"permission denied", "sudo -u USER", "!chown"}, "status")
	if err := os.Chmod(p.volume, 0o755); err != nil {
		t.Fatal(err)
	}
	p.said(podUser+1, exitFailed, []string{sudo, "!chown"}, "state", "list")
	p.said(podUser+1, exitFailed, []string{sudo, "!chown"}, "status")
	p.said(0, exitFailed, []string{sudo, "!chown"}, "run") // by mistake, perhaps
	p.said(podUser, exitDone, []string{"buffer"}, "state", "list")
	err := filepath.WalkDir(p.volume, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != podUser {
			err = fmt.Errorf("%s is not the user's", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A bridge without a state folder answers to its user only: anybody else could make the folder for
// temporary files in which root would look.
func TestS37BridgeWithoutStateOfAnotherUser(t *testing.T) {
	p := newPod(t)
	file := write(t, p.dir, "off.yaml", "state: off\npipelines: {a: {from: {generate: {interval: 1s}}, to: discard}}\n")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	inline := p.start(podUser, 2, "run", "--from", "generate,interval=1s", "--to", "discard")
	pid := strconv.Itoa(inline.cmd.Process.Pid)
	p.start(podUser, 2, "run", "off.yaml")
	p.ready(podUser, "--pid", pid)
	p.ready(podUser, "off.yaml")
	for user, code := range map[uint32]int{0: exitNobody, podUser: exitDone, podUser + 1: exitNobody} {
		var mend []string
		if code == exitNobody {
			mend = []string{"sudo -u USER"}
		}
		p.said(user, code, mend, "status", "--pid", pid)
		p.said(user, code, mend, "status", "off.yaml")
		p.said(user, code, mend, "pipeline", "pause", "a", "--config", "off.yaml")
		p.said(user, code, mend, "pipeline", "resume", "a", "--config", "off.yaml")
	}
}
