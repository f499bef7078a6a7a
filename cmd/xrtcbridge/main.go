// Command xrtcbridge moves messages between systems: MQTT, NATS, files, standard
// input and output, and more. A YAML file names the pipelines; see
// xrtcbridge help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // something failed while running
	exitUsage  = 2 // wrong arguments or configuration; nothing was started
)

func main() {
	// A closed standard output is then an error of the write instead of the death of the process.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(execute(context.Background(), os.Args[1:], std{os.Stdin, os.Stdout, os.Stderr}))
}

// std is the standard input and output of the process, lent to commands.
type std struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, s std) int {
	root := newRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var f failure
	var output *fs.PathError
	switch {
	case errors.As(err, &f):
	case errors.As(err, &output): // of a command that only prints
		f = failure{code: exitFailed, err: err}
	default:
		// Cobra's own errors are about arguments.
		f = failure{code: exitUsage, err: err, hint: "xrtcbridge help lists the commands"}
		if cmd != root && cmd.Runnable() {
			f.hint = "usage: " + cmd.UseLine()
		}
	}
	var mistakes config.Errors
	switch {
	case errors.As(f.err, &mistakes):
		// One a line and nothing in front, so that editors find the places.
		fmt.Fprintf(s.err, "%v\nxrtcbridge: %s in the configuration, nothing was started\n", mistakes, plural(len(mistakes), "mistake"))
	case f.err != nil:
		fmt.Fprintf(s.err, "xrtcbridge: %v\n", f.err)
	}
	if f.hint != "" {
		fmt.Fprintf(s.err, "hint: %s\n", f.hint)
	}
	return f.code
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// failure is an error with the exit code that it leads to.
type failure struct {
	code int
	err  error
	hint string // what to do next, if known
}

func (f failure) Error() string { return fmt.Sprint(f.err) }

func (f failure) Unwrap() error { return f.err }
