package main

import (
	"os"
	"strings"
	"testing"
)

// Whichever command gets a name that there is not, it exits with 2 and names what is near; so it is
// with a file that is not there, though a bridge runs beside.
func TestNamesThatThereAreNot(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pipelines.yaml",
		"pipelines: {numbers: {from: {generate: {interval: 1s}}, to: discard, buffer: disk}}\n")
	write(t, dir, "folder", "pipelines: {}\n")
	p := start(t, dir, nil, "run", "--log-format", "json")
	p.opened(4)
	const near = "did you mean numbers?"
	for _, c := range []struct{ command, want string }{
		{"pipeline pause number", near},
		{"pipeline resume number", near},
		{"pipeline restart number", near},
		{"pipeline paus numbers", "did you mean pause?"},
		{"tap number", near},
		{"tap numbers/form", "did you mean from?"},
		{"tap numbers/steps", "places: from, buffer, to, sources, sinks, buffers, dead_letters"},
		{"tap numbers --record x_test.yaml -n -1", "-n"},
		{"dead list number", near},
		{"dead show number 1", near},
		{"dead purge number --all", near},
		{"dead replay number", near},
		{"dead show numbers one", "is not the number of a dead letter"},
		{"state show number", near},
		{"state reset number", near},
		{"state rename number other", near},
		{"buffer status number", near},
		{"buffer peek number", near},
		{"buffer export number", near},
		{"buffer verify number", near},
		{"buffer peek numbers -n -1", "-n"},
		{"buffer status number pipelines.yaml", near},
		{"buffer peek pipelines.yaml number", near},
		{"dead show number 1 pipelines.yaml", near},
		{"dead list folder", "hint: ./folder is the file, which says where the state is"},
		{"state list folder", "hint: ./folder is the file, which says where the state is"},
		{"state show pipelines.yaml", "accepts 1 arg(s), received 0"},
		{"state rename numbers pipelines.yaml", "accepts 2 arg(s), received 1"},
		{"state list other", "unknown command"},
		{"state list other.yaml", "other.yaml"},
		{"dead list other.yaml", "other.yaml"},
		{"buffer status numbers other.yaml", "other.yaml"},
		{"state reset numbers other.yaml", "other.yaml"},
		{"connectors other.yaml", "other.yaml"},
		{"steps window other.yaml", "other.yaml"},
		{"connectors generat", "did you mean generate?"},
		{"steps windw", "did you mean window?"},
		{"help tapp", "tap"},
		{"tapp", "tap"},
		{"status other.yaml", "other.yaml"},
		{"top other.yaml", "other.yaml"},
		{"reload other.yaml", "other.yaml"},
		{"dashboard other.yaml", "other.yaml"},
		{"pipeline pause numbers -c other.yaml", "other.yaml"},
		{"tap numbers other.yaml", "other.yaml"},
		{"dead list -c other.yaml", "other.yaml"},
		{"check other.yaml", "other.yaml"},
		{"graph other.yaml", "other.yaml"},
		{"test other.yaml", "other.yaml"},
	} {
		code, out, errs := command(t, dir, strings.Fields(c.command)...)
		if code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %s%s, want %d, %s", c.command, code, out, errs, exitUsage, c.want)
		}
	}
	if _, out, _ := command(t, dir, "--help"); !strings.Contains(out, "Exit codes of all commands: ") {
		t.Error("the help has no exit codes")
	}
	p.signal(os.Interrupt)
	p.exit()
}
