package bridge

import (
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
)

// Template is a text that may depend on a message. Settings structs hold
// it where YAML has a {{ }} template; the configuration compiles it.
type Template interface {
	// Render returns the text for m. An error is about m, not the template.
	// Render may be called from several goroutines at once.
	Render(m *Message) (string, error)

	// Constant returns what the text begins with whatever the message is, and
	// true if that is all of it.
	Constant() (string, bool)

	// Prefix returns what the text begins with at least, if the topic of the message begins with
	// topic.
	Prefix(topic string) string
}

// Text is the [Template] that is always the same.
type Text string

// Render returns the text itself.
func (t Text) Render(*Message) (string, error) { return string(t), nil }

// Constant returns the text and true.
func (t Text) Constant() (string, bool) { return string(t), true }

// Prefix returns the text.
func (t Text) Prefix(string) string { return string(t) }

// String returns the text.
func (t Text) String() string { return string(t) }

// Condition is a question about a message. Settings structs hold it where YAML
// has a condition; the configuration compiles it.
type Condition interface {
	// Match answers the question for m. An error is about m, not the condition.
	// Match may be called from several goroutines at once.
	Match(m *Message) (bool, error)
}

// Secret is a text that does not print itself: every way of formatting,
// marshalling or logging it gives [redacted], or nothing if it is empty.
type Secret struct{ text string }

const redacted = "[redacted]"

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text. It is the only way to get at it.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == "" }

func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// Format prints [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText gives [redacted], which covers JSON and XML too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML gives [redacted].
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue gives [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// URL is an address that does not print the user, password and query in it, but [redacted] in
// their place. The zero value is no address.
type URL struct{ *url.URL }

// ParseURL parses text. The error does not quote it, since it may hold a password.
func ParseURL(text string) (URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" {
		return URL{}, fmt.Errorf("not a URL, which looks like scheme://host:port")
	}
	return URL{u}, nil
}

// IsZero reports whether there is no address.
func (u URL) IsZero() bool { return u.URL == nil }

// Reveal returns the whole address, as a client needs it.
func (u URL) Reveal() string {
	if u.URL == nil {
		return ""
	}
	return u.URL.String()
}

// String returns the address for people. It is no good for connecting if something in it is redacted.
func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	c := *u.URL
	c.User, c.RawQuery, c.Fragment = nil, "", ""
	text := c.String()
	if u.User != nil {
		text = strings.Replace(text, "//", "//"+redacted+"@", 1)
	}
	if u.RawQuery != "" {
		text += "?" + redacted
	}
	return text
}

// Format prints what String returns, for every verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// LogValue gives what String returns.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Size is a number of bytes. In YAML it is written 512, 64KiB, 100MB or 1GiB.
type Size int64

// ParseSize parses a number with an optional unit: B, kB, MB, GB, TB (powers of
// 1000), KiB, MiB, GiB, TiB (powers of 1024). Case does not matter.
func ParseSize(text string) (Size, error) {
	t := strings.TrimSpace(text)
	i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := ""
	if i >= 0 {
		t, unit = t[:i], strings.ToLower(strings.TrimSpace(t[i:]))
	}
	n, err := strconv.ParseFloat(t, 64)
	factor, known := sizeUnits[unit]
	if err != nil || !known || n*factor > 1<<62 {
		return 0, fmt.Errorf("not a size, which looks like 512, 64KiB or 100MB")
	}
	return Size(n * factor), nil
}

var sizeUnits = map[string]float64{
	"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

func (s Size) String() string {
	for _, u := range []struct {
		unit string
		n    Size
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s >= u.n && s%u.n == 0 {
			return strconv.FormatInt(int64(s/u.n), 10) + u.unit
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
