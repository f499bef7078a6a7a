package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// How a process that lives is told from one that hangs: two calls of Health in a row without an answer.
const (
	healthEvery   = 4 * time.Second
	healthTimeout = 2 * time.Second
)

// process is a running plugin. Losing it is final: calls fail with the reason, and the plugin starts another.
type process struct {
	name   string
	limits Limits
	calls  pluginpb.ConnectorClient
	client *plugin.Client
	child  *child
	log    *lineLog

	gone     chan struct{} // closed when the process has ended
	stopping chan struct{} // closed when Stop begins
	watchers sync.WaitGroup
	stop     sync.Once

	carrying atomic.Int64 // calls with messages that are under way, or were when it ended
	blaming  atomic.Int64 // those of which a message is refused if it costs the process its life too often

	mu     sync.Mutex // guards the rest
	reason error      // why we ended it, nil if it ended by itself
	end    error      // what calls return, good when gone is closed
}

// service is how go-plugin wants a gRPC client.
type service struct {
	plugin.NetRPCUnsupportedPlugin
}

func (service) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the host")
}

func (service) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginpb.NewConnectorClient(conn), nil
}

// Windows of HTTP/2, so that a large batch need not wait for the other side half-way.
const window = 4 << 20

// start starts the program and waits until it is ready. It ends it if ctx is cancelled before;
// a deadline is for Limits.Start to set, so that who waits for less need not start anew.
func start(ctx context.Context, name, program, folder string, s Settings, log *lineLog) (*process, error) {
	p := &process{
		name: name, limits: s.Limits, log: log,
		gone: make(chan struct{}), stopping: make(chan struct{}),
	}
	disarm := func() bool { return true }
	most := int(s.Limits.Message) + pluginpb.Overhead
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  pluginpb.Handshake(),
		Plugins:          plugin.PluginSet{"connector": service{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     s.Limits.Start,
		Logger:           hclog.NewNullLogger(), // standard error is read by the child
		SyncStdout:       printed{log, "stdout"},
		SyncStderr:       printed{log, "stderr"},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: folder},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most), grpc.MaxCallSendMsgSize(most)),
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
			spec.Env = append(spec.Env, fmt.Sprintf("%s=%d", pluginpb.LimitVariable, s.Limits.Message))
			p.child = newChild(spec, program, s, log)
			p.child.begun = func() {
				disarm = context.AfterFunc(ctx, func() {
					if errors.Is(ctx.Err(), context.Canceled) {
						_ = p.child.Kill(context.WithoutCancel(ctx))
					}
				})
			}
			return p.child, nil
		},
	})
	err := p.connect()
	if !disarm() && errors.Is(ctx.Err(), context.Canceled) {
		p.client.Kill()
		return nil, ctx.Err()
	}
	if err != nil {
		p.client.Kill()
		return nil, p.explain(err)
	}
	p.watchers.Go(p.await)
	p.watchers.Go(p.watch)
	return p, nil
}

func (p *process) connect() error {
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense("connector")
	if err != nil {
		return err
	}
	p.calls = raw.(pluginpb.ConnectorClient)
	return nil
}

// explain says why the plugin did not start.
func (p *process) explain(err error) error {
	if p.child == nil || p.child.cmd == nil || p.child.cmd.Process == nil {
		return err
	}
	if problem := p.child.handshakeProblem(); problem != nil {
		err = problem
	} else if text, _, cut := strings.Cut(err.Error(), "\n"); cut {
		err = errors.New(text)
	}
	if text := p.log.flush(); text != "" {
		err = fmt.Errorf("%w; it said: %s", err, text)
	}
	return err
}

// await waits for the end of the process and settles what calls return from then on.
func (p *process) await() {
	<-p.child.exited
	defer p.client.Kill() // closes the connection
	p.mu.Lock()
	defer p.mu.Unlock()
	switch status := p.child.status; {
	case p.reason != nil:
		p.end = p.reason
	case status != nil:
		p.end = fmt.Errorf("plugin %q crashed: %w", p.name, status)
	default:
		p.end = fmt.Errorf("plugin %q ended by itself", p.name)
	}
	if text := p.log.flush(); text != "" {
		p.end = fmt.Errorf("%w; it said: %s", p.end, text)
	}
	close(p.gone)
}

// watch ends the process if it does not answer.
func (p *process) watch() {
	every := time.NewTicker(healthEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-p.gone:
			return
		case <-p.stopping:
			return
		}
		err := p.healthy()
		if err != nil {
			err = p.healthy() // once may be chance
		}
		if err == nil {
			continue
		}
		p.fail(fmt.Errorf("it does not answer: %w", plain(err)))
		return
	}
}

func (p *process) healthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	_, err := p.calls.Health(ctx, new(pluginpb.HealthRequest))
	return err
}

// fail ends the process, for the given reason.
func (p *process) fail(reason error) {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = fmt.Errorf("plugin %q was ended: %w", p.name, reason)
	}
	p.mu.Unlock()
	_ = p.child.Kill(context.Background())
	<-p.gone
}

// obituary returns why the process has ended, and whether that counts as a crash.
func (p *process) obituary() (reason error, counts bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end, p.blaming.Load() == 0
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// do makes a call that Interrupt does not end. One that goes on for too long means the end of the
// process.
func (p *process) do(ctx context.Context, what string, call func(context.Context) error) error {
	return p.within(ctx, p.limits.Call, what, call)
}

// within makes a call that returns within limit, and before the deadline of ctx: else the process
// ends, unless that left it hardly any time.
func (p *process) within(ctx context.Context, limit time.Duration, what string, call func(context.Context) error) error {
	hasty := false
	if end, is := ctx.Deadline(); is && time.Until(end) < limit {
		limit = time.Until(end).Round(time.Millisecond)
		hasty = limit < min(time.Second, p.limits.Call)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := call(limited)
	late := limited.Err() != nil || status.Code(err) == codes.DeadlineExceeded // whose clock is first
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case late && hasty:
		return context.DeadlineExceeded
	case late:
		p.fail(fmt.Errorf("a call to %s did not return within %s", what, limit))
	}
	return p.failed(ctx, what, err)
}

// failed returns the error of a call that has failed. Once ctx is done nobody waits to know more.
func (p *process) failed(ctx context.Context, what string, err error) error {
	if status.Code(err) == codes.Unavailable {
		patient, cancel := context.WithTimeout(ctx, brokenGrace)
		defer cancel()
		select {
		case <-p.gone:
		case <-patient.Done():
		}
	}
	err, malformed := fmt.Errorf("%s: %w", what, plain(err)), isMalformed(err)
	if malformed {
		return p.nonsense(err)
	}
	return p.outcome(err, goneGrace)
}

// isMalformed reports whether err is about an answer that gRPC could not read.
func isMalformed(err error) bool {
	text := status.Convert(err).Message()
	return strings.HasPrefix(text, "grpc: failed to unmarshal") || strings.HasPrefix(text, "grpc: received message")
}

// nonsense ends the process, which has answered what makes no sense and would do so for ever, so
// that this counts as a crash.
func (p *process) nonsense(err error) error {
	p.fail(err)
	return p.outcome(err, 0)
}

// How long the news of an end may take longer than the failure of a call, and than that of one
// whose connection is broken, as that of a process that ends is.
const (
	goneGrace   = 500 * time.Millisecond
	brokenGrace = 10 * time.Second
)

// outcome returns err, which a call returned, or the reason if the process has ended.
func (p *process) outcome(err error, grace time.Duration) error {
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.gone:
	case <-late.C:
	}
	if p.alive() {
		return fmt.Errorf("plugin %q: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// stopPatience is how long a process may take to end that was asked to.
const stopPatience = 3 * time.Second

// Stop asks the process to end, and makes it end soon.
func (p *process) Stop() {
	p.stop.Do(func() {
		close(p.stopping)
		p.mu.Lock()
		if p.reason == nil {
			p.reason = fmt.Errorf("plugin %q has been stopped", p.name)
		}
		p.mu.Unlock()
		late := time.AfterFunc(stopPatience, func() { _ = p.child.Kill(context.Background()) })
		defer late.Stop()
		p.client.Kill() // asks, for however long that takes, waits two seconds, kills
		p.watchers.Wait()
	})
}

// printed takes what a plugin prints, once go-plugin has redirected that.
type printed struct {
	log  *lineLog
	from string
}

func (w printed) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			w.log.line(w.from, line)
		}
	}
	return len(b), nil
}
