package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/pipetest"
)

type testFlags struct {
	run    string
	junit  string
	update bool
	tapFlags
}

func newTest(s std, folders *pluginFolders) *cobra.Command {
	var f testFlags
	cmd := takesNames(&cobra.Command{
		Use:   "test [FILE...]",
		Short: "Test pipelines: what comes of which messages",
		Long: `test runs the tests in NAME_test.yaml, beside the pipelines in NAME.yaml. A FILE is one or
the other, or a folder with such files in it or below (default: in this folder). It exits with 0 if
all tests pass, 1 if one fails, and 2 if a file has a mistake or there is no test to run.

The pipelines are the real ones, with their steps, conditions, routing, retries and on_error.
Only their ends are replaced: sources read the messages of the test, sinks keep what they get,
and nothing is connected to, written or started but plugins. Time stands still but for after;
rand and uuid() give the same in each run.

In a test file
  files     what is tested, if it is not NAME.yaml
  env       environment variables for it: {BROKER: "mqtt://127.0.0.1"}
  tests     a list of tests

In a test
  name      what is expected, in words
  pipeline  which one, if there are several
  messages  what the sources read, in order: {topic: …, header: {…}, id: …, time: …}, with the payload
            as text (payload: …), JSON (json: {…}), base64 (base64: …), a file (file: …), or a message
            for each line of a file (lines: …); from: SOURCE if there are several; after: 1m lets time
            pass before, and alone it lets time pass
  sinks     what sinks do, by name: {nats: {fail: {times: 2}}}, {fail: {for: 1m}}, {refuse: "json.bad"}
  end       true: the input ends, so that steps let go of what they hold
  now       when it begins, default 2026-01-01T00:00:00Z
  expect    what is to come of it

In expect
  sinks     by name, a list of the messages that arrive, [] for none, with what is to be compared of each:
            topic, header, payload, json, base64, file, and settings: {subject: …} for what templates in the
            settings of the sink make of it; or {any_order: true, messages: […]}, or {count: 3}
  dead_letters  a list of what is put aside: {reason: a part of it, at: the place, topic: …, json: …}
  filtered, merged, dropped, refused, held   how many messages
  fails     a part of the reason why the pipeline stops

A source or sink is named by its type, nats, or its place, to-2, where several have that type. What is
not mentioned is not compared; but json is compared whole, and its numbers as they are written (1 is
not 1.0), and if sinks are mentioned, the others must get nothing, and a dead letter, a message
that is dropped or held, and a pipeline that stops must be expected.`,
		Example: `  xrtcbridge test
  xrtcbridge test sensors.yaml mirror_test.yaml
  xrtcbridge test --run 'alarms' --junit report.xml examples/alarm-routing
  xrtcbridge test --update sensors.yaml
  xrtcbridge test --record sensors -n 50 sensors.yaml`,
	}, func(cmd *cobra.Command, files []string) error {
		if pipeline := f.record; pipeline != "" {
			return f.recordFrom(cmd, s, folders, pipeline, files)
		}
		return f.test(cmd.Context(), s, folders, files)
	})
	cmd.Flags().StringVar(&f.record, "record", "",
		"add a test of what this `pipeline` reads now, in a bridge that runs, as tap --record does; "+
			"FILE is that with the pipeline")
	cmd.Flags().IntVarP(&f.n, "count", "n", 0, "with --record, how many messages (default 20)")
	folders.add(cmd)
	cmd.Flags().StringVar(&f.run, "run", "", "run only the tests whose name matches this `regular expression`")
	cmd.Flags().StringVar(&f.junit, "junit", "", "write what has come of them to this `file` too, as JUnit XML")
	cmd.Flags().BoolVar(&f.update, "update", false,
		"write into the files what has come of failed tests, in place of what they expect")
	_ = cmd.MarkFlagFilename("junit", "xml")
	return cmd
}

// recordFrom adds a test of what a pipeline of a bridge that runs reads.
func (f *testFlags) recordFrom(cmd *cobra.Command, s std, folders *pluginFolders, pipeline string, files []string) (err error) {
	if f.record, err = testFileOf(files); err != nil {
		return err
	}
	f.files = files
	return f.asks(&cobra.Command{}, s, 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		return f.recordTest(ctx, c, s, folders, pipeline)
	}).RunE(cmd, nil)
}

func (f *testFlags) test(ctx context.Context, s std, folders *pluginFolders, named []string) error {
	files, err := findTests(named)
	if err != nil {
		return failure{code: exitUsage, err: err, hint: "xrtcbridge test --help shows how to write one"}
	}
	o := pipetest.Options{Update: f.update}
	if f.run != "" {
		if o.Run, err = regexp.Compile(f.run); err != nil {
			return failure{code: exitUsage, err: fmt.Errorf("--run: %w", err)}
		}
	}
	var report junitReport
	var passed, failed, updated int
	var mistakes []error
	for _, file := range files {
		results, err := testFile(ctx, s, folders, file, o)
		report.add(file.name, results, err)
		if err != nil { // which says nothing of the other files
			mistakes = append(mistakes, err)
			continue
		}
		for _, r := range results {
			switch {
			case r.Updated:
				updated++
				fmt.Fprintf(s.out, "updated  %s  (%s)\n", r.Name, r.Place)
			case len(r.Failures) > 0:
				failed++
				fmt.Fprintf(s.out, "FAILED   %s  (%s)\n  %s\n", r.Name, r.Place,
					strings.ReplaceAll(strings.Join(r.Failures, "\n"), "\n", "\n  "))
			default:
				passed++
				fmt.Fprintf(s.out, "passed   %s\n", r.Name)
			}
		}
	}
	if f.junit != "" {
		if err := report.write(f.junit); err != nil {
			return err
		}
	}
	switch {
	case len(mistakes) > 0:
		if passed+failed > 0 {
			fmt.Fprintf(s.out, "%s passed, %d failed\n", bridge.Plural(passed, "test"), failed)
		}
		return failure{code: exitUsage, err: errors.Join(mistakes...)}
	case passed+failed+updated == 0:
		return failure{code: exitUsage, err: fmt.Errorf("no test has a name that matches %q", f.run)}
	case failed > 0:
		return fmt.Errorf("%s failed, %d passed", bridge.Plural(failed, "test"), passed)
	case updated > 0:
		fmt.Fprintf(s.out, "%s passed, %d updated: read what has changed\n", bridge.Plural(passed, "test"), updated)
	default:
		fmt.Fprintf(s.out, "%s passed\n", bridge.Plural(passed, "test"))
	}
	return nil
}

// testedFile is a file with tests, which somebody has named, or which was found.
type testedFile struct {
	name  string
	found bool
}

// findTests returns the files with tests that names stand for, each once.
func findTests(named []string) ([]testedFile, error) {
	folder := len(named) == 0
	if folder {
		named = []string{"."}
	}
	var files []testedFile
	for _, name := range named {
		all, err := pipetest.Find(name, !folder)
		if err != nil {
			return nil, err
		}
		for _, file := range all {
			beside := filepath.Dir(file)
			found := folder || beside != filepath.Clean(name) && beside != filepath.Dir(name)
			if !slices.ContainsFunc(files, func(f testedFile) bool { return f.name == file }) {
				files = append(files, testedFile{file, found})
			}
		}
	}
	return files, nil
}

// testFile runs the tests of one file, with plugins of its own.
func testFile(ctx context.Context, s std, folders *pluginFolders, file testedFile, o pipetest.Options) (
	[]pipetest.Result, error,
) {
	if file.found { // it may have programs started
		if _, err := owned.ReadFile(file.name); err != nil {
			return nil, err
		}
	}
	k := folders.catalog(s.warnings())
	defer k.close()
	o.Load = k.tests(ctx)
	return pipetest.Run(ctx, file.name, o)
}

// junitReport is what JUnit writes, as far as it is read by others.
type junitReport struct {
	XMLName struct{}     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"` // in seconds
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// add adds what came of a file; that it could not be tested is a failed test.
func (r *junitReport) add(file string, results []pipetest.Result, mistake error) {
	if mistake != nil {
		results = append(results, pipetest.Result{Name: "can be tested", Failures: []string{mistake.Error()}})
	}
	suite := junitSuite{Name: file, Tests: len(results)}
	var all time.Duration
	for _, t := range results {
		one := junitCase{Name: t.Name, Class: file, Time: seconds(t.Took)}
		if all += t.Took; len(t.Failures) > 0 && !t.Updated {
			suite.Failures++
			text := strings.Join(t.Failures, "\n")
			message, _, _ := strings.Cut(text, "\n")
			one.Failure = &junitFailure{Message: message, Text: text}
		}
		suite.Cases = append(suite.Cases, one)
	}
	suite.Time = seconds(all)
	r.Suites = append(r.Suites, suite)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

func (r *junitReport) write(name string) error {
	text, err := xml.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := owned.WriteFile(name, append([]byte(xml.Header), append(text, '\n')...), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
