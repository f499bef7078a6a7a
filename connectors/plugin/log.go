package plugin

import (
	"io"
	"log/slog"
)

// newLogger returns the logger whose lines the bridge puts into its log, at the level that the bridge wants.
func newLogger(to io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
