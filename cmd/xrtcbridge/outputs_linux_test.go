package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What cannot be written decides the exit code where it is the result, and nowhere else.
func TestOutputsThatCannotBeWritten(t *testing.T) {
	const lines = "--from generate,count=3,payload=x --to "
	for _, c := range []struct {
		name, args, out, err string
		want                 int
		says                 string
	}{
		{"whoever reads has seen enough", "check", "closed", "", exitDone, ""},
		{"of a list", "connectors", "closed", "", exitDone, ""},
		{"of an example", "connectors mqtt", "closed", "", exitDone, ""},
		{"of the help", "help run", "closed", "", exitDone, ""},
		{"a full disk", "check", "full", "", exitFailed, "no space left on device"},
		{"a full disk under many writes", "connectors mqtt", "full", "", exitFailed, "no space left on device"},
		{"a mistake counts though nobody reads", "check wrong.yaml", "closed", "", exitUsage, "unknown connector"},
		{"log and ledger full", "run " + lines + "discard", "", "full", exitDone, ""},
		{"log and ledger closed", "run --log-level info " + lines + "discard", "", "closed", exitDone, ""},
		{"log full, and the file that it runs fails", "run gone.yaml", "", "full", exitFailed, ""},
		{"messages to a full disk", "run " + lines + "stdio", "full", "", exitFailed, "stdout is full"},
		{"messages that nobody reads", "run " + lines + "stdio", "closed", "", exitFailed, "stdout closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "pipelines.yaml", "pipelines: {a: {from: stdio, to: stdio}}\n")
			write(t, dir, "wrong.yaml", "pipelines: {a: {from: sdtio, to: stdio}}\n")
			write(t, dir, "gone.yaml", "pipelines: {a: {from: {file: {path: gone}}, to: discard, restart: off}}\n")
			cmd := exec.CommandContext(t.Context(), "xrtcbridge", strings.Fields(c.args)...)
			cmd.Dir = dir
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = output(t, c.out, io.Discard), output(t, c.err, &said)
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.want || !strings.Contains(said.String(), c.says) ||
				c.want == exitDone && c.err == "" && c.out != "" && said.Len() > 0 {
				t.Errorf("exit code %d, want %d; it says %q, want %q", got, c.want, said.String(), c.says)
			}
		})
	}
}

// output returns what is full, what nobody reads, or the writer.
func output(t *testing.T, kind string, w io.Writer) io.Writer {
	t.Helper()
	switch kind {
	case "full":
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	case "closed":
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = from.Close()
		t.Cleanup(func() { _ = to.Close() })
		return to
	}
	return w
}

// A bridge without standard error, as a service may have it, runs as any other.
func TestNoStandardError(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "in.txt", "a\nb\n")
	cmd := exec.CommandContext(t.Context(), "sh", "-c",
		"exec xrtcbridge run --from file,path=in.txt --to file,path=out.txt 2>&- <&- >&-")
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		t.Errorf("run: %v", err)
	}
	if got := readLines(t, dir+"/out.txt"); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}
