package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/pipetest"
)

const (
	recordedUnlessGiven = 20
	mostRecorded        = 1000 // so that a file with tests stays one
)

// recordTest writes a test of what the sources of a pipeline read.
func (f *tapFlags) recordTest(ctx context.Context, c *admin.Client, s std, folders *pluginFolders, pipeline string) error {
	switch {
	case strings.Contains(pipeline, "/"):
		return failure{
			code: exitUsage,
			err:  errors.New("--record goes without a place: a test begins at the sources, and ends at the sinks"),
		}
	case f.when != "":
		return failure{
			code: exitUsage,
			err:  errors.New("--record goes without --when: what a pipeline leaves out is part of its test"),
		}
	case len(f.named()) == 0:
		return failure{
			code: exitUsage,
			err:  errors.New("--record needs the file with the pipeline: name it behind the pipeline"),
		}
	case f.n > mostRecorded:
		return failure{code: exitUsage, err: fmt.Errorf("-n: a test has %d messages at most", mostRecorded)}
	case f.n == 0:
		f.n = recordedUnlessGiven
	}
	r := pipetest.Recording{Pipeline: pipeline, Files: f.named()}
	query := url.Values{
		"pipeline": {pipeline}, "place": {"sources"}, "sample": {"all"}, "n": {strconv.Itoa(f.n)},
		"bytes": {strconv.Itoa(monitor.MostTapBytes)},
	}
	var left []error
	fmt.Fprintf(s.err, "recording %s; an interrupt ends it before\n", bridge.Plural(f.n, "message"))
	lost, err := follow(ctx, c, query, f.n, func(_ []byte, t *monitor.Tapped) error {
		switch {
		case t.Cut > 0:
			left = append(left, fmt.Errorf("a message is larger than %d bytes", monitor.MostTapBytes))
		case t.Outcome != monitor.TapReceived:
			left = append(left, fmt.Errorf("a message was refused by its source: %s", t.Reason))
		default:
			r.Messages = append(r.Messages, pipetest.Recorded{At: t.At, From: t.Place, Message: *t.Message})
		}
		return nil
	})
	if err != nil && (len(r.Messages) == 0 || errors.As(err, new(failure))) {
		return err
	}
	if err != nil { // what has come is worth to be kept
		fmt.Fprintf(s.err, "warning: %s\n", inOneLine(err.Error()))
	}
	k := folders.catalog(s.warnings())
	defer k.close()
	name, more, err := pipetest.Record(context.WithoutCancel(ctx), f.record, r, pipetest.Options{Load: k.tests(ctx)})
	for _, why := range append(left, more...) {
		fmt.Fprintf(s.err, "left out: %s\n", inOneLine(why.Error()))
	}
	if lost.Missed > 0 {
		fmt.Fprintf(s.err, "%s in between passed too fast to be recorded\n", bridge.Plural(lost.Missed, "message"))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "recorded %s in %s: %s\n", bridge.Plural(len(r.Messages)-len(more), "message"), f.record, name)
	return nil
}

// testFileOf returns where tests of a file with pipelines stand.
func testFileOf(files []string) (string, error) {
	if len(files) == 0 {
		files = []string{defaultFile}
	}
	base, ext := files[0], ""
	for _, known := range []string{".yaml", ".yml"} {
		if name, found := strings.CutSuffix(base, known); found {
			base, ext = name, known
		}
	}
	if info, err := os.Stat(files[0]); err != nil || info.IsDir() || ext == "" || strings.HasSuffix(base, "_test") {
		return "", failure{
			code: exitUsage, err: fmt.Errorf("--record needs the file with the pipeline, and %s is none", files[0]),
			hint: "xrtcbridge tap --record FILE_test.yaml PIPELINE FILE... names both",
		}
	}
	return base + "_test" + ext, nil
}

// tests returns how files with pipelines are read for tests.
func (k *catalog) tests(ctx context.Context) func(files []string, adjust func(*config.Loader)) (*config.Config, error) {
	return func(files []string, adjust func(*config.Loader)) (*config.Config, error) {
		c, err := k.load(ctx, files, adjust)
		if f, ok := errors.AsType[failure](err); ok {
			err = f.err
		}
		return c.Config, err
	}
}
