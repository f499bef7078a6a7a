package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// The binary of this test is the plugin, too, with the connector probe: it tells about its process,
// and misbehaves as asked.
func TestMain(m *testing.M) {
	misbehave(os.Getenv("PROBE"))
	plugintest.Main(probe())
	bridgetest.Parallel(2)
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

func probe() bridge.Connector {
	return bridge.Connector{
		Name:    "probe",
		Summary: "tells about its process",
		Example: "pipelines: {}\n",
		Source:  bridge.NewOpener(sourceSettings{Size: 16, Tick: time.Millisecond}, openProbeSource),
		Sink:    bridge.NewOpener(sinkSettings{}, openProbeSink),
		Step:    bridge.NewOpener(stepSettings{}, openProbeStep),
	}
}

type sourceSettings struct {
	Size      int           `yaml:"size"`
	Headers   int           `yaml:"headers"`
	Flood     bool          `yaml:"flood"`   // as fast as it can
	Tick      time.Duration `yaml:"tick"`    // else one message after this time
	Journal   string        `yaml:"journal"` // file with the number of acked messages; what is not acked comes again
	Report    bool          `yaml:"report"`
	Secret    bridge.Secret `yaml:"secret"`
	Hang      string        `yaml:"hang" enum:"read|open|heed|close|ack"`
	Fail      string        `yaml:"fail" enum:"eof|permanent|canceled|other|panic|exit"`
	Huge      bool          `yaml:"huge"`       // a batch of more messages than are allowed
	Acks      string        `yaml:"acks"`       // file that gets a line for each ack of two batches, of which the second is large, and then the end
	HangWhile string        `yaml:"hang_while"` // file; while it is there, reads hang
	Wordy     bool          `yaml:"wordy"`      // refuses a batch with long words
	// one batch of 10 messages, of which it refuses three and 7 is large, and then the end
	Refuse bool `yaml:"refuse"`
}

// Describe says something else for each size.
func (s sourceSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why:   fmt.Sprint("size ", s.Size),
	}, Ends: s.Refuse, Exclusive: s.Journal}
}

// Validate refuses one size, to try that.
func (s sourceSettings) Validate() error {
	if s.Size == 14 {
		select {}
	}
	if s.Size == 13 {
		return &bridge.KeyError{Key: "size", Err: errors.New("brings bad luck; take another")}
	}
	return nil
}

type probeSource struct {
	s      *sourceSettings
	env    bridge.Env
	next   int
	closed chan struct{}
	tick   *time.Ticker
	flood  bridge.Batch
}

func openProbeSource(ctx context.Context, s *sourceSettings, env bridge.Env) (bridge.Source, error) {
	switch s.Hang {
	case "open":
		select {}
	case "heed":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p := &probeSource{s: s, env: env, closed: make(chan struct{}), tick: time.NewTicker(max(s.Tick, time.Microsecond))}
	if text, err := os.ReadFile(s.Journal); err == nil {
		p.next, _ = strconv.Atoi(string(text))
	}
	if s.Flood {
		for i := range env.MaxBatch {
			p.flood = append(p.flood, message(i, s.Size, s.Headers))
		}
	}
	return p, nil
}

func (p *probeSource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	none := func(context.Context, error) error { return nil }
	if p.s.Hang == "ack" {
		none = func(context.Context, error) error { select {} }
	}
	if _, err := os.Stat(p.s.HangWhile); err == nil {
		select {}
	}
	switch {
	case p.s.Acks != "" && p.next == 2:
		return nil, nil, io.EOF
	case p.s.Acks != "":
		p.next++
		n := p.next
		return bridge.Batch{message(n, 16+(n-1)*100_000, 0)}, func(_ context.Context, err error) error {
			f, openErr := os.OpenFile(p.s.Acks, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			_, writeErr := fmt.Fprintln(f, n, err)
			return errors.Join(openErr, writeErr, f.Close())
		}, nil
	case p.s.Hang == "read":
		select {}
	case p.s.Fail != "":
		return nil, nil, failAs(p.s.Fail)
	case p.s.Flood:
		return p.flood, none, nil
	case p.s.Huge:
		return make(bridge.Batch, p.env.MaxBatch+1), none, nil
	case p.s.Wordy && p.next == 0:
		p.next++
		var b bridge.Batch
		var refused bridge.Refusals
		for i := range p.env.MaxBatch {
			b = append(b, message(i, 16, 0))
			refused = append(refused, bridge.Refusal{Index: i, Err: errors.New(strings.Repeat("ä", 10_000))})
		}
		return b, none, refused
	case p.s.Refuse && p.next > 0:
		return nil, nil, io.EOF
	case p.s.Refuse:
		var b bridge.Batch
		for i := range 10 {
			b = append(b, message(i, p.s.Size, 0))
		}
		b[7].Payload = make([]byte, 1<<20)
		p.next = len(b)
		return b, func(context.Context, error) error { return errors.New("acked") }, bridge.Refusals{
			{Index: 0, Err: errors.New("first")}, {Index: 4, Err: errors.New("fifth")}, {Index: 9, Err: errors.New("last")},
		}
	case p.s.Report && p.next == 0:
		p.next++
		return bridge.Batch{{Payload: []byte(report() + "secret " + p.s.Secret.Reveal() + "\n")}}, none, nil
	}
	select {
	case <-p.tick.C:
		m := message(p.next, p.s.Size, p.s.Headers)
		p.next++
		upto := p.next
		return bridge.Batch{m}, func(_ context.Context, err error) error {
			if err != nil || p.s.Journal == "" {
				return err
			}
			if err := os.WriteFile(p.s.Journal+".new", []byte(strconv.Itoa(upto)), 0o600); err != nil {
				return err
			}
			return os.Rename(p.s.Journal+".new", p.s.Journal) // we may be killed at any moment
		}, nil
	case <-p.closed:
		return nil, nil, errors.New("closed")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (p *probeSource) Close() error {
	if p.s.Hang == "close" {
		select {}
	}
	select {
	case <-p.closed:
	default:
		p.tick.Stop()
		close(p.closed)
	}
	return nil
}

func failAs(kind string) error {
	switch kind {
	case "eof":
		return io.EOF
	case "permanent":
		return bridge.Permanent(errors.New("no use"))
	case "canceled":
		return fmt.Errorf("stopped: %w", context.Canceled)
	case "panic":
		panic("the probe panics")
	case "exit":
		os.Exit(0)
	}
	return errors.New("out of order")
}

type sinkSettings struct {
	Path  string        `yaml:"path"`  // file that gets a line for each message
	After int           `yaml:"after"` // messages, then it fails as Fail says
	Fail  string        `yaml:"fail" enum:"eof|permanent|canceled|other|panic|exit"`
	Hang  string        `yaml:"hang" enum:"write|heed"`
	Slow  time.Duration `yaml:"slow"`  // for each message
	Omit  bool          `yaml:"omit"`  // says that it left out the first message of each batch
	Odd   string        `yaml:"odd"`   // refuses messages with this payload
	Obeys bool          `yaml:"obeys"` // what a payload says, as the step does
	Print string        `yaml:"print"`
}

type probeSink struct {
	s    *sinkSettings
	env  bridge.Env
	file *os.File
	n    int
}

func openProbeSink(_ context.Context, s *sinkSettings, env bridge.Env) (bridge.Sink, error) {
	p := &probeSink{s: s, env: env}
	if s.Print != "" {
		fmt.Println(s.Print)
		env.Logger.Warn(s.Print, "forged", "level=ERROR msg=\"\nx\"") //nolint:sloglint // that is the point
	}
	if s.Path != "" {
		var err error
		if p.file, err = os.OpenFile(s.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *probeSink) Write(ctx context.Context, b bridge.Batch) (r bridge.Result, err error) {
	if p.s.Hang == "write" {
		select {}
	}
	if p.s.Hang == "heed" {
		<-ctx.Done()
		return r, ctx.Err()
	}
	if p.s.Omit {
		r.Omitted = []int{0}
	}
	for i, m := range b {
		r.Settled = i
		if p.s.Obeys {
			if err := obey(string(m.Payload), i, new(bridge.Output), m); err != nil {
				return r, err
			}
		}
		if p.s.Fail != "" && p.n == p.s.After {
			return r, failAs(p.s.Fail)
		}
		if p.s.Odd != "" && strings.TrimSpace(string(m.Payload)) == p.s.Odd {
			r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: errors.New("it is odd")})
			continue
		}
		if p.s.Slow > 0 {
			select {
			case <-time.After(p.s.Slow):
			case <-ctx.Done():
				return r, ctx.Err()
			}
		}
		p.n++
		if p.file != nil {
			if _, err := fmt.Fprintf(p.file, "%s\n", m.Payload); err != nil {
				return r, err
			}
		}
	}
	r.Settled = len(b)
	return r, nil
}

func (p *probeSink) Close() error {
	if p.file != nil {
		_ = p.file.Close()
	}
	return nil
}

type stepSettings struct {
	Crash string          `yaml:"crash"` // file; while it is there, the process ends and removes it
	Mark  bridge.Template `yaml:"mark"`  // marks each message; else it obeys what the payload says
	Log   string          `yaml:"log"`   // file that tells when it is closed
	Hang  bool            `yaml:"hang"`
}

type probeStep struct{ s *stepSettings }

func openProbeStep(_ context.Context, s *stepSettings, _ bridge.Env) (bridge.Step, error) {
	return probeStep{s}, nil
}

func (p probeStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	if p.s.Hang {
		select {}
	}
	if p.s.Crash != "" && os.Remove(p.s.Crash) == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // this thread may go on for a moment
	}
	if out.Last() {
		out.Add(bridge.Message{Payload: []byte("last")})
		out.Release(out.Call())
	}
	for i := range b {
		if p.s.Mark == nil {
			if err := obey(string(b[i].Payload), i, out, b[i]); err != nil {
				return err
			}
			continue
		}
		text, err := p.s.Mark.Render(&b[i])
		if err != nil {
			return err
		}
		m := b[i]
		m.Header = map[string]string{"mark": text}
		out.Emit(i, m)
	}
	return nil
}

// obey does with message i what words say.
func obey(words string, i int, out *bridge.Output, m bridge.Message) error {
	for word := range strings.FieldsSeq(words) {
		switch word {
		case "pass":
			out.Pass(i)
		case "emit":
			out.Emit(i, bridge.Message{Topic: m.Topic + "'", Payload: m.Payload, Header: m.Header})
		case "grow":
			out.Emit(i, bridge.Message{Payload: make([]byte, 100_000)})
		case "drop":
			out.Drop(i)
		case "refuse":
			out.Refuse(i, errors.New("told to"))
		case "hold":
			out.Hold(i)
		case "add":
			out.Add(bridge.Message{Topic: "added"})
		case "release":
			out.Release(out.Call())
		case "release-before":
			out.Release(out.Call() - 1)
		case "wake":
			out.Wake(1500 * time.Microsecond)
		case "fail":
			return errors.New("told to")
		case "panic":
			panic("told to")
		case "exit":
			os.Exit(3)
		case "slow":
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // it is at work
		case "kill":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		case "hang":
			select {}
		}
	}
	return nil
}

func (p probeStep) Close() error {
	if p.s.Log == "" {
		return nil
	}
	return os.WriteFile(p.s.Log, []byte("closed"), 0o600)
}

func message(n, size, headers int) bridge.Message {
	m := bridge.Message{
		Topic: "probe", Payload: fmt.Appendf(make([]byte, 0, size), "%d", n),
		Time: time.Unix(1_700_000_000, int64(n)),
	}
	for len(m.Payload) < size {
		m.Payload = append(m.Payload, ' ')
	}
	if headers > 0 {
		m.Header = make(map[string]string, headers)
		for i := range headers {
			m.Header["header"+strconv.Itoa(i)] = strconv.Itoa(n)
		}
	}
	return m
}

// report tells what the process was given.
func report() string {
	var b strings.Builder
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		fmt.Fprintf(&b, "env %s\n", name)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		fmt.Fprintf(&b, "fd %s %s\n", fd.Name(), to)
	}
	for line := range strings.SplitSeq(read("/proc/self/status"), "\n") {
		if strings.HasPrefix(line, "NoNewPrivs:") || strings.HasPrefix(line, "Umask:") {
			fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
		}
	}
	for line := range strings.SplitSeq(read("/proc/self/limits"), "\n") {
		if strings.HasPrefix(line, "Max open files") {
			fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
		}
	}
	n, err := os.Stdin.Read(make([]byte, 1))
	fmt.Fprintf(&b, "stdin %d %v\nparent %d\ngroup %t\n", n, err, os.Getppid(), syscall.Getpgrp() == os.Getpid())
	return b.String()
}

func read(name string) string {
	b, _ := os.ReadFile(name)
	return string(b)
}

// misbehave does what no plugin should, before the handshake or instead of it.
func misbehave(how string) {
	how, argument, _ := strings.Cut(how, ":")
	switch how {
	case "noise":
		fmt.Println("hello world")
	case "flood":
		line := strings.Repeat("x", 1<<20)
		for range 1024 {
			fmt.Print(line)
		}
	case "stderr":
		line := strings.Repeat("y", 100) + "\n"
		for range 1 << 20 {
			fmt.Fprint(os.Stderr, line)
		}
	case "version":
		fmt.Println("1|9|unix|/nowhere|grpc|")
		select {}
	case "garbage":
		fmt.Println("1|1|unix|/nowhere|grpc|")
		select {}
	case "silent":
		_ = os.WriteFile(argument, nil, 0o600)
		select {}
	case "frozen":
		serve(&frozen{mark: argument})
	case "exit":
		os.Exit(3)
	case "mark":
		_ = os.WriteFile(argument, nil, 0o600)
	case "replay":
		replay(argument)
	case "deaf":
		serve(new(deaf))
	case "liar":
		serveLies(argument)
	case "host":
		killedHost(argument)
	case "child", "stray": // leave a process behind, in the group or not
		cmd := exec.Command("/bin/sleep", "300")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: how == "stray"}
		if err := cmd.Start(); err == nil {
			_ = os.WriteFile(argument, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
		}
	}
}

// killedHost runs three plugins, one with a child of its own, prints their pids and waits to be
// killed.
func killedHost(dir string) {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	h := host.New(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	for i, env := range []string{"PROBE=child:" + filepath.Join(dir, "grandchild"), "A=b", "A=c"} {
		p, err := h.Load(context.Background(), fmt.Sprintf("p%d", i), host.Settings{Path: path, Env: []string{env}})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.PID())
	}
	select {}
}

// withSettings returns an opener whose settings are others unless a file says so.
func withSettings(o bridge.Opener[bridge.Source], settings any) bridge.Opener[bridge.Source] {
	return fixed{o, settings}
}

type fixed struct {
	bridge.Opener[bridge.Source]
	settings any
}

func (f fixed) Settings() any { return f.settings }

// frozen is a plugin that stops for good, as a whole, when it is asked what it has.
type frozen struct {
	service
	mark string
}

func (f *frozen) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	_ = os.WriteFile(f.mark, nil, 0o600)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	select {} // this thread may go on for a moment
}

// deaf is a plugin whose source hangs, and which hangs when it is told to let go.
type deaf struct{ service }

func (*deaf) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	return &pluginpb.DescribeResponse{Connectors: []*pluginpb.ConnectorInfo{{
		Name:   "deaf",
		Source: new(pluginpb.RoleInfo),
	}}}, nil
}

func (*deaf) Open(context.Context, *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return &pluginpb.OpenResponse{Instance: 1}, nil
}

func (*deaf) Read(context.Context, *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) { select {} }

func (*deaf) Interrupt(context.Context, *pluginpb.InterruptRequest) (*pluginpb.InterruptResponse, error) {
	select {}
}

// named returns a connector of the plugin.
func named(t testing.TB, p *host.Plugin, name string) bridge.Connector {
	t.Helper()
	for _, c := range p.Connectors() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("the plugin has no connector %q", name)
	return bridge.Connector{}
}
