package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// logFlags choose how the log looks.
type logFlags struct {
	format string
	level  slog.Level
	quiet  bool
}

func (f *logFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.format, "log-format", "auto", "how to log to standard error: human, json, or auto (human on a terminal)")
	flags.TextVar(&f.level, "log-level", slog.LevelInfo, "log from this level: debug, info, warn, error; with --from it is warn unless given")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "log errors only, and print no ledger")
}

// logger returns the logger that the flags ask for.
func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	level := f.level
	if f.quiet {
		level = slog.LevelError
	}
	human := f.format == "human"
	switch f.format {
	case "human", "json":
	case "auto":
		human = isTerminal(w)
	default:
		return nil, failure{code: exitUsage, err: fmt.Errorf("--log-format %q: want human, json or auto", f.format)}
	}
	if !human {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{
		Level:      level,
		TimeFormat: "15:04:05.000",
		NoColor:    os.Getenv("NO_COLOR") != "" || !isTerminal(w),
	})), nil
}

// isTerminal reports whether v is a terminal that can do more than print lines.
func isTerminal(v any) bool {
	if s, ok := v.(*screen); ok {
		v = s.to
	}
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
