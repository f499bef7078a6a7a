package config

import (
	"regexp"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// The forms of texts in the schema take what the decoder takes, and little else.
func TestSchemaForms(t *testing.T) {
	size := func(text string) bool { _, err := bridge.ParseSize(text); return err == nil }
	address := func(text string) bool { _, err := bridge.ParseURL(text); return err == nil }
	duration := func(text string) bool { _, ok := parseDuration(text); return ok && text != "" }
	for _, c := range []struct {
		form  string
		takes func(string) bool
		texts []string
	}{
		{durationForm, duration, []string{
			"10s", "1.5s", ".5s", "5.s", "2h30m", "7d", "1w2d12h", "1.5d", "2d1w", "0", "1d0", "250ms", "3us", "3µs",
			"3μs", "1ns", "+5s",
			"10", "s", "10 s", "10sec", "1d ", "d", "1y", "-5s", "5S", "1m2", "1wd",
		}},
		{sizeForm, size, []string{
			"512", "64KiB", "100MB", "1.5 GiB", ".5kB", "1.b", "1TB", " 1MB ", "10b", "10kib", "k", "10k", "10Ki",
			"-1", "1,000", "10MBs", "1 000", ".", "",
		}},
		{urlForm, address, []string{"mqtt://h", "smtp:/x", "a+b.c-1://h:1/p", "h", "/x", "h:1883", "://h", "1a://h", ""}},
		{wholeForm, wholeNumber.MatchString, []string{"0", "-1", "12", "012", "1.0", "1e3", "+1", "", "1_000"}},
		{decimalForm, decimalNumber.MatchString, []string{"0", "-1.5", "1e3", "1E-3", "01", ".5", "1.", ""}},
	} {
		form := regexp.MustCompile(c.form)
		for _, text := range c.texts {
			if text == "-5s" { // a setting may not be negative, which the form does not say
				continue
			}
			if got := form.MatchString(text); got != c.takes(text) && text != "" {
				t.Errorf("%q: the form takes it: %t", text, got)
			}
		}
		if !form.MatchString("a${X}b") {
			t.Errorf("%s does not take ${…}", c.form)
		}
	}
}
