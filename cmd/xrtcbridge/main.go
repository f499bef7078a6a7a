// Command xrtcbridge moves messages between systems: MQTT, NATS, files, standard
// input and output, and more. A YAML file names the pipelines; see
// xrtcbridge help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // something failed while running
	exitUsage  = 2 // wrong arguments or configuration; nothing was started
	exitNobody = 3 // no bridge runs that a command could ask
)

func main() {
	// A closed standard output is then an error of the write instead of the death of the process.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(execute(context.Background(), os.Args[1:],
		std{in: os.Stdin, data: onTerminal(os.Stdout), err: onTerminal(os.Stderr)}))
}

// std is the standard input and output of the process, lent to commands.
type std struct {
	in   io.Reader
	data io.Writer // for messages
	out  io.Writer // the same, for what a command says
	err  io.Writer

	file func() ([]byte, error) // standard input as a file, read when it is asked first
}

// printed writes what a command says until that fails, and remembers the error, so that not every
// print has to be looked at.
type printed struct {
	to  io.Writer
	err error
}

func (p *printed) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.to.Write(b)
	p.err = err
	return n, err
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, s std) int {
	out := &printed{to: s.data}
	s.out = out
	s.file = sync.OnceValues(func() ([]byte, error) {
		return io.ReadAll(io.LimitReader(s.in, 2<<20)) // config has its own limit
	})
	root := newRoot(s)
	root.SetArgs(args)
	started := false // Cobra's own errors come before, and are about arguments
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	if out.err != nil && (err == nil || errors.Is(err, out.err)) {
		if err = out.err; errors.Is(err, syscall.EPIPE) {
			return exitDone // whoever reads has seen enough
		}
	}
	var f failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &f):
	case started:
		f = failure{code: exitFailed, err: err}
	default:
		f = failure{code: exitUsage, err: err, hint: "xrtcbridge help lists the commands"}
		if cmd != root && cmd.Runnable() {
			f.hint = "usage: " + cmd.UseLine()
		}
	}
	f.tell(s.err)
	return f.code
}

// unknown is the failure of a command that got a name which there is not.
func unknown(what, name string, known []string, hint string) failure {
	if near := suggest.Nearest(name, known); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return failure{code: exitUsage, err: fmt.Errorf("there is no %s %q", what, name), hint: hint}
}

// failure is an error with the exit code that it leads to. Another error of a command leads to
// exitFailed.
type failure struct {
	code int
	err  error
	hint string // what to do next, if known
}

// tell says what failed, to people.
func (f failure) tell(w io.Writer) {
	var mistakes config.Errors
	switch {
	case errors.As(f.err, &mistakes):
		// One a line and nothing in front, so that editors find the places.
		fmt.Fprintf(w, "%v\nxrtcbridge: %s in the configuration, nothing was started\n", mistakes,
			bridge.Plural(len(mistakes), "mistake"))
	case f.err != nil:
		fmt.Fprintf(w, "xrtcbridge: %v\n", f.err)
	}
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
}

func (f failure) Error() string { return fmt.Sprint(f.err) }

func (f failure) Unwrap() error { return f.err }
