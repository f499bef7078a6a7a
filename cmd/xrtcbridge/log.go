package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// logFlags choose how the log looks.
type logFlags struct {
	format string
	level  slog.Level
	quiet  bool
}

func (f *logFlags) add(cmd *cobra.Command) {
	wordFlag(cmd, &f.format, "log-format",
		"`how` to log to standard error: human, json, or auto (default; human on a terminal)", "human", "json", "auto")
	cmd.Flags().TextVar(&f.level, "log-level", slog.LevelInfo, "log from this level: debug, info, warn, error")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "log errors only")
	oneOf(cmd, "log-level", "debug", "info", "warn", "error")
}

// logger returns the logger that the flags ask for.
func (f *logFlags) logger(w io.Writer) *slog.Logger {
	level := f.level
	if f.quiet {
		level = slog.LevelError
	}
	if f.format == "json" || f.format != "human" && !isTerminal(w) {
		return slog.New(slog.NewJSONHandler(&terminal{to: w}, &slog.HandlerOptions{Level: level, ReplaceAttr: readable}))
	}
	options := &tint.Options{
		Level:       level,
		TimeFormat:  "15:04:05.000",
		NoColor:     os.Getenv("NO_COLOR") != "" || !isTerminal(w),
		ReplaceAttr: harmless,
	}
	return slog.New(tint.NewTextHandler(bare(w), options))
}

// readable writes durations as people do, and not in nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// isTerminal reports whether v is a terminal that can do more than print lines.
func isTerminal(v any) bool {
	if s, ok := v.(*screen); ok {
		v = s.to
	}
	if w, ok := v.(io.Writer); ok {
		v = bare(w)
	}
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
