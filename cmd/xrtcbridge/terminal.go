package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminal makes visible what tells a terminal to do something: the author of a message must not
// move the cursor of who looks at it, set the title, or turn the direction of a line.
type terminal struct {
	to  io.Writer
	raw bool // pass it on as it is
}

// onTerminal returns f, or a terminal if it is one. It does not ask pipes, which Fd may make block.
func onTerminal(f *os.File) io.Writer {
	info, err := f.Stat()
	if err == nil && info.Mode()&os.ModeCharDevice != 0 && term.IsTerminal(int(f.Fd())) {
		return &terminal{to: f}
	}
	return f
}

// Write counts nothing of p as written if not all of it was.
func (t *terminal) Write(p []byte) (int, error) {
	if t.raw {
		return t.to.Write(p)
	}
	if _, err := io.WriteString(t.to, visible(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// rawFlag adds the flag to a command that prints what messages hold.
func (s std) rawFlag(cmd *cobra.Command) *cobra.Command {
	raw := new(bool)
	if t, is := s.data.(*terminal); is {
		raw = &t.raw
	}
	cmd.Flags().BoolVar(raw, "raw", false, "write control characters as they are to a terminal, as to a pipe")
	return cmd
}

// bare returns what a terminal writes to, and any other writer as it is.
func bare(w io.Writer) io.Writer {
	if t, is := w.(*terminal); is {
		return t.to
	}
	return w
}

// visible writes as \u001b, as JSON does, what is no text: control characters but for line ends and
// tabs, and format characters but for those that join emoji and letters; as \x9b what is not UTF-8.
func visible(text string) string {
	var b strings.Builder
	done := 0
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		form := ""
		switch {
		case r == utf8.RuneError && n == 1:
			form = fmt.Sprintf(`\x%02x`, text[i])
		case r == '\n' || r == '\t' || r == '\u200c' || r == '\u200d' || strings.HasPrefix(text[i:], "\r\n"):
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			for _, unit := range utf16.AppendRune(nil, r) {
				form += fmt.Sprintf(`\u%04x`, unit)
			}
		}
		if form != "" {
			b.WriteString(text[done:i] + form)
			done = i + n
		}
		i += n
	}
	if done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// harmless is for a log in colours, which cannot go through a terminal: it makes visible what
// somebody else has chosen. Of values the handler quotes the rest, but for the escape character.
func harmless(groups []string, a slog.Attr) slog.Attr {
	if _, level := a.Value.Any().(slog.Level); level {
		return a
	}
	text := a.Value.String()
	switch {
	case a.Value.Kind() == slog.KindAny:
		text = fmt.Sprintf("%+v", a.Value.Any())
	case a.Value.Kind() != slog.KindString:
		return a
	}
	if len(groups) == 0 && a.Key == slog.MessageKey {
		return slog.String(a.Key, strings.ReplaceAll(visible(text), "\n", `\n`))
	}
	return slog.String(visible(a.Key), strings.ReplaceAll(text, "\x1b", "␛"))
}
