package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestLatency(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-local", "-n", "20", "-interval", "1ms"}, &out); err != nil {
		t.Fatal(err)
	}
	if want := `^20 items: least \S+s, median \S+s, 99 % below \S+s, most \S+s\n$`; !regexp.MustCompile(
		want).MatchString(out.String()) {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
