package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// pod runs xrtcbridge as a container does that gets a volume: as another user, in a group of its
// own.
type pod struct {
	t      *testing.T
	dir    string // what it may read
	volume string
}

const podUser, podGroup = 4711, 4712

func newPod(t *testing.T) *pod {
	t.Helper()
	bridgetest.Root(t, "to run a process as another user")
	dir := t.TempDir()
	binary, err := exec.LookPath("xrtcbridge")
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, dir: dir, volume: filepath.Join(dir, "volume")}
	// It is in a folder that only this user can enter. Were it written here, a process that another
	// test starts at that moment might have it open for writing still when it is run.
	runIn(t, dir, "cp", binary, "xrtcbridge")
	err = errors.Join(os.Chmod(filepath.Join(dir, "xrtcbridge"), 0o755),
		os.Mkdir(p.volume, 0o700), os.Mkdir(filepath.Join(dir, "tmp"), 0o700),
		os.Chmod(filepath.Join(dir, "tmp"), 0o777|fs.ModeSticky), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mount does what Kubernetes does with a volume at each start of a pod with fsGroup.
func (p *pod) mount() {
	p.t.Helper()
	err := filepath.WalkDir(p.volume, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o660
		if entry.IsDir() {
			mode |= 0o775 | fs.ModeSetgid
		}
		return errors.Join(os.Lchown(path, -1, podGroup), os.Chmod(path, mode))
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// command returns one that another user gives.
func (p *pod) command(ctx context.Context, user uint32, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "xrtcbridge"), args...)
	cmd.Args[0] = "xrtcbridge" // as the test binary wants it
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + filepath.Join(p.dir, "tmp")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: user, Gid: user,
		Groups: []uint32{podGroup},
	}}
	return cmd
}

// run returns what it prints and logs, and its exit code.
func (p *pod) run(user uint32, args ...string) (text string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*bridgetest.Timeout)
	defer cancel()
	cmd := p.command(ctx, user, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// expect runs it, and looks for the exit code and texts.
func (p *pod) expect(code int, texts []string, args ...string) {
	p.t.Helper()
	out, got := p.run(podUser, args...)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			p.t.Errorf("xrtcbridge %s says no %q", strings.Join(args, " "), text)
			got = -1
		}
	}
	if got != code {
		p.t.Fatalf("xrtcbridge %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
}

// pipelines writes files that the pod may read: pipelines with a buffer that keep one dead letter a
// run.
func (p *pod) pipelines(name, top string) string {
	p.t.Helper()
	for name, text := range map[string]string{"in.log": "../out\n", name: top + `pipelines:
  a: {from: {file: {path: in.log}}, to: {file: {path: "volume/{{ payload }}"}}, buffer: disk, on_error: {then: dead_letter}}
`} {
		if err := os.Chmod(write(p.t, p.dir, name, text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	return name
}

// S37: on a volume that Kubernetes gives to a group at each start the state is refused, with the
// setting that allows it, and, with that, goes on from start to start; commands look into it.
func TestS37SharedState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, dir string }{{"the volume", "volume"}, {"a folder in it", "volume/state"}} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(t)
			file := func(name, shared string) string {
				return p.pipelines(name, "state: {dir: "+c.dir+shared+"}\n"+
					"embedded: {mqtt: 127.0.0.1:0, nats: {listen: 127.0.0.1:0, store: volume/store"+shared+"}}\n")
			}
			alone, shared := file("alone.yaml", ""), file("shared.yaml", ", shared: true")
			const warning = "neither owner nor modes are looked at"
			for n := range 3 {
				p.mount()
				p.expect(exitDone, []string{warning, `"setting":"state"`, `"setting":"embedded.nats.store"`}, "run", shared)
				p.expect(exitDone, []string{
					"state: " + c.dir, "embedded.nats.store: volume/store",
					"warning: shared: " + warning,
				},
					"check", shared)
				p.mount()
				p.expect(exitFailed, []string{"write embedded: {nats: {shared: true}}", "chmod -R go-w "}, "run", alone)
				p.expect(exitFailed, []string{"write state: {shared: true}", "hint: --shared looks"}, "state", "list",
					"--config", alone)
				letters := bridge.Plural(n+1, "message")
				p.expect(exitDone, []string{letters}, "state", "list", "--config", shared)
				p.expect(exitDone, []string{letters}, "state", "list", "--config", alone, "--shared")
				p.expect(exitFailed, []string{"write state: {shared: true}"}, "buffer", "status", "--state", c.dir)
				p.expect(exitDone, []string{"a "}, "buffer", "status", "--state", c.dir, "--shared")
				p.expect(exitDone, []string{"out"}, "dead", "list", "--state", c.dir, "--shared")
			}
			if err := os.Symlink(filepath.Join(p.dir, "in.log"), filepath.Join(p.dir, c.dir, "jetstream", "link")); err != nil {
				t.Fatal(err)
			}
			p.expect(exitFailed, []string{"link is a symbolic link"}, "run", shared)
			p.expect(exitFailed, []string{"link is a symbolic link"}, "state", "list", "--state", c.dir, "--shared")
		})
	}
}

// S37: files that another user has made, and nobody has opened to the group, are an error with
// whose they are, and stay; nothing begins anew beside them.
func TestS37SharedStateOfAnotherUser(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.pipelines("pipelines.yaml", "state: {dir: volume, shared: true}\n")
	p.mount()
	p.expect(exitDone, nil, "run")
	for _, name := range []string{"xrtcbridge.lock", "jetstream"} {
		out, code := p.run(podUser+100, "run")
		if want := name +
			": permission denied: it belongs to user 4711, and this is user 4811: chown -R 4811 "; code != exitFailed ||
			!strings.Contains(out, want) {
			t.Errorf("exit code %d, want %s:\n%s", code, want, out)
		}
		path := filepath.Join(p.volume, name)
		if err := errors.Join(os.Chown(path, -1, podGroup), os.Chmod(path, 0o660)); err != nil {
			t.Fatal(err)
		}
	}
	p.mount()
	if out, code := p.run(podUser+100, "run"); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	p.mount()
	p.expect(exitDone, []string{"2 messages"}, "state", "list")
}

// The hint to name the default file is given where others could have written it, and for no other
// trouble.
func TestDefaultFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	const hint = "if you trust it"
	for mode, hinted := range map[fs.FileMode]bool{0o600: false, 0o646: true, 0o644: false} {
		if err := os.Chmod(write(t, p.dir, "pipelines.yaml",
			"pipelines: {a: {from: {generate: {count: 1}}, to: discard}}\n"), mode); err != nil {
			t.Fatal(err)
		}
		if out, code := p.run(podUser, "check"); strings.Contains(out, hint) != hinted ||
			(code == exitDone) != (mode == 0o644) {
			t.Errorf("%o: exit code %d:\n%s", mode, code, out)
		}
	}
	if err := os.Remove(filepath.Join(p.dir, "pipelines.yaml")); err != nil {
		t.Fatal(err)
	}
	if out, code := p.run(podUser, "check"); strings.Contains(out, hint) || code != exitUsage {
		t.Errorf("missing: exit code %d:\n%s", code, out)
	}
}

// S54: a report goes through no link of another user.
func TestS54ReportFollowsNoLinksOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give a link away")
	dir := t.TempDir()
	name := filepath.Join(dir, "report.xml")
	if err := errors.Join(os.Symlink(filepath.Join(dir, "victim"), name), os.Lchown(name, podUser, -1)); err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(filepath.Join(dir, "victim"), []byte("theirs"), 0o600) },
	} {
		if err := errors.Join(write(), new(junitReport).write(name)); err == nil || !strings.Contains(err.Error(), "link") {
			t.Errorf("it was written: %v", err)
		}
	}
}
