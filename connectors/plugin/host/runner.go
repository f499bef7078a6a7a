package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
)

const socketVariable = plugin.EnvUnixSocketDir

// child runs the program of a plugin, for go-plugin, which does not do so itself since its plugins
// inherit standard input, outlive a host that is killed, and leave grandchildren behind.
//
// Standard input is a pipe that nothing is written to: its end tells the plugin that the host is gone. Of standard
// output only the handshake line reaches go-plugin, the rest goes to the log, as does standard error.
type child struct {
	program string
	args    []string
	env     []string
	limits  Limits
	log     *lineLog

	begun func() // called once the process has started

	cmd *exec.Cmd // good once started

	stdin          *os.File // our end
	stdout, stderr *os.File // our ends
	handshake      *io.PipeReader

	exited chan struct{} // closed when the process has ended
	status error         // of the process, good when exited is closed

	mu      sync.Mutex // guards problem
	problem error      // what was wrong with the handshake

	readers sync.WaitGroup
	kill    sync.Once
	killed  atomic.Bool
	reaped  atomic.Bool // the number of the process may be another's from then on
}

var _ runner.Runner = (*child)(nil)

// newChild prepares the program, whose environment go-plugin has put into spec.
func newChild(spec *exec.Cmd, program string, s Settings, log *lineLog) *child {
	return &child{
		program: program, args: s.Args, env: append(environment(s.Env), spec.Env...),
		limits: s.Limits, log: log, exited: make(chan struct{}),
	}
}

// Start starts the process. ctx is not used: starting does not wait for anything.
func (c *child) Start(context.Context) error {
	var files [3]*os.File // the child's ends
	var err error
	open := func(child, host **os.File, writes bool) {
		if err != nil {
			return
		}
		var r, w *os.File
		if r, w, err = os.Pipe(); writes {
			*child, *host = w, r
		} else {
			*child, *host = r, w
		}
	}
	open(&files[0], &c.stdin, false)
	open(&files[1], &c.stdout, true)
	open(&files[2], &c.stderr, true)
	if err == nil {
		keepFiles()
		err = c.spawn(func() *exec.Cmd {
			cmd := exec.Command(c.program, c.args...) //nolint:noctx // it lives as long as the plugin
			cmd.Env = c.env
			cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
			return cmd
		})
	}
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		c.closePipes()
		return explainStart(c.program, err)
	}
	c.begun()
	return nil
}

// spawn starts the process and returns; another goroutine waits for its end. That the process ends
// with this one is a matter of the thread that started it, where the system can do that.
func (c *child) spawn(build func() *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		cmd, err := startTied(build, c.limits)
		if err != nil {
			started <- err
			return
		}
		c.cmd = cmd
		handshake, to := io.Pipe()
		c.handshake = handshake
		c.readers.Go(func() { c.readStdout(to) })
		c.readers.Go(func() { c.log.copy("stderr", c.stderr) })
		started <- nil
		c.status = cmd.Wait()
		c.reaped.Store(true)
		c.killGroup() // what it has left behind
		// Somebody who left the group may hold the other ends.
		soon := time.Now().Add(time.Second)
		_ = c.stdout.SetReadDeadline(soon)
		_ = c.stderr.SetReadDeadline(soon)
		c.readers.Wait()
		c.closePipes()
		close(c.exited)
	}()
	return <-started
}

func (c *child) closePipes() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

const maxHandshake = 8 << 10 // it has a certificate in it

var handshakeLine = regexp.MustCompile(`^\d+\|\d+\|(unix|tcp)\|[^|]+\|`)

// readStdout gives go-plugin the handshake line, and the log the rest.
func (c *child) readStdout(to *io.PipeWriter) {
	r := bufio.NewReaderSize(c.stdout, maxHandshake)
	line, err := r.ReadSlice('\n')
	if err == nil && handshakeLine.Match(line) {
		_, err = to.Write(line)
	} else {
		c.fail(line, err)
		err = io.ErrUnexpectedEOF
		_ = to.CloseWithError(err) // now, since no other line can mend that
	}
	c.log.copy("stdout", r)
	_ = to.CloseWithError(err)
}

func (c *child) fail(line []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.killed.Load(): // we know why
	case errors.Is(err, bufio.ErrBufferFull):
		c.problem = fmt.Errorf("its first line on standard output has more than %d bytes, so it is no handshake",
			maxHandshake)
	case len(line) == 0:
		c.problem = errors.New("it ended without the handshake of a plugin")
	default:
		c.problem = fmt.Errorf("it wrote %q to standard output before the handshake: "+
			"a plugin must write nothing there", clean(string(line), 60))
	}
}

// Diagnose returns what was wrong with the handshake.
func (c *child) Diagnose(context.Context) string {
	if err := c.handshakeProblem(); err != nil {
		return err.Error()
	}
	return ""
}

func (c *child) handshakeProblem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// Wait waits until the process has ended.
func (c *child) Wait(context.Context) error {
	<-c.exited
	return c.status
}

// Kill ends the process and all of its group, at once.
func (c *child) Kill(context.Context) error {
	c.kill.Do(func() {
		c.killed.Store(true)
		if !c.reaped.Load() {
			c.killGroup()
		}
		<-c.exited
	})
	return nil
}

func (c *child) Stdout() io.ReadCloser { return c.handshake }

// Stderr returns nothing: the log has it.
func (c *child) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

func (c *child) Name() string { return c.program }

func (c *child) ID() string {
	if c.cmd == nil || c.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(c.cmd.Process.Pid)
}

func (c *child) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// environment returns what the entries of env: stand for.
func environment(entries []string) []string {
	env := []string{} // not nil, which would be all of ours
	for _, e := range entries {
		if m := variable.FindStringSubmatch(e); m != nil && m[1] == "=" {
			env = append(env, e)
		} else if value, ok := os.LookupEnv(e); ok {
			env = append(env, e+"="+value)
		}
	}
	return env
}

func explainStart(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("start %s: %w: is it executable, and its disk not mounted noexec?", path, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("start %s: %w: is the interpreter in its first line there?", path, err)
	case isExecFormat(err):
		return fmt.Errorf("start %s: %w: it is neither a program for this machine nor a script whose first line "+
			"names an interpreter", path, err)
	}
	return fmt.Errorf("start %s: %w", path, err)
}
