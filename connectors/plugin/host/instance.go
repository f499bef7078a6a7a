package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// opener opens instances of a plugin's connector in one role.
type opener[T any] struct {
	plugin      *Plugin
	connector   string
	role        pluginpb.Role
	description bridge.Description
	settings    func() any
	wrap        func(i *instance) T
}

func (o opener[T]) Settings() any { return o.settings() }

// DescribeSettings stands for the method Describe of settings, which have none since their type is
// made of a list of keys.
func (o opener[T]) DescribeSettings(settings any) bridge.Description {
	answer, err := o.ask(context.Background(), settings)
	if err != nil || answer.GetRole() == nil {
		return o.description
	}
	d := description(answer.GetRole())
	if answer.GetRole().GetWhy() == "" {
		d.Guarantee.Why = o.description.Guarantee.Why
	}
	return d
}

// Check asks the plugin what is wrong with the settings, beyond what its keys say.
func (o opener[T]) Check(ctx context.Context, settings any) error {
	answer, err := o.ask(ctx, settings)
	if err != nil {
		return err
	}
	var errs []error
	for _, problem := range answer.GetProblems() {
		text := errors.New(clean(problem.GetText(), 500))
		if problem.GetKey() == "" {
			errs = append(errs, text)
		} else {
			errs = append(errs, &bridge.KeyError{Key: clean(problem.GetKey(), 200), Err: text})
		}
	}
	return errors.Join(errs...)
}

func (o opener[T]) ask(ctx context.Context, settings any) (answer *pluginpb.CheckResponse, err error) {
	document, err := config.Plain(settings)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", o.plugin.Name, err)
	}
	r, err := o.plugin.running(ctx)
	if err != nil {
		return nil, err
	}
	err = r.do(ctx, "check", func(ctx context.Context) (err error) {
		answer, err = r.calls.Check(ctx,
			&pluginpb.CheckRequest{Connector: o.connector, Role: o.role, Settings: string(document)})
		return err
	})
	return answer, err
}

func (o opener[T]) Open(ctx context.Context, settings any, env bridge.Env) (T, error) {
	i, err := o.open(ctx, settings, env)
	if err != nil {
		var none T
		return none, err
	}
	return o.wrap(i), nil
}

func (o opener[T]) open(ctx context.Context, settings any, env bridge.Env) (*instance, error) {
	document, err := config.Plain(settings)
	if err != nil {
		return nil, bridge.Permanent(fmt.Errorf("plugin %q: %w", o.plugin.Name, err))
	}
	r, err := o.plugin.running(ctx)
	if err != nil {
		return nil, err
	}
	i := &instance{
		plugin: o.plugin, process: r, env: env, limit: int(o.plugin.settings.Limits.Message), closed: make(chan struct{}),
		another: func(ctx context.Context) (*instance, error) { return o.open(ctx, settings, env) },
	}
	request := &pluginpb.OpenRequest{
		Connector: o.connector, Role: o.role, Settings: string(document),
		Pipeline: env.Pipeline, Instance: env.Instance,
		MaxBatch: uint32(min(env.MaxBatch, 1<<20)), MaxBytes: uint64(i.limit),
	}
	if env.Checkpoint != nil {
		if request.Checkpoint, err = env.Checkpoint.Load(ctx); err != nil {
			return nil, fmt.Errorf("load checkpoint: %w", err)
		}
	}
	return i, i.open(ctx, request)
}

// instance is an open source, sink or step in a plugin.
type instance struct {
	plugin  *Plugin
	process *process
	another func(ctx context.Context) (*instance, error)
	env     bridge.Env
	limit   int // bytes of a batch
	number  uint64
	call    atomic.Uint64 // number of the last call

	closed   chan struct{}
	once     sync.Once
	closeErr error
	keeping  sync.WaitGroup
}

func (i *instance) open(ctx context.Context, request *pluginpb.OpenRequest) error {
	var answer *pluginpb.OpenResponse
	err := i.process.do(ctx, "open", func(ctx context.Context) (err error) {
		answer, err = i.process.calls.Open(ctx, request)
		return err
	})
	if err != nil {
		return err
	}
	if err := answer.GetError().Err(); err != nil {
		return err
	}
	i.number = answer.GetInstance()
	if answer.GetNeedsId() {
		i.env.NeedID()
	}
	if answer.GetCheckpoints() && i.env.Checkpoint != nil {
		i.keeping.Go(i.keepCheckpoints)
	}
	return nil
}

// How long a call may go on after it was interrupted, and how often it is told.
const (
	interruptGrace = 5 * time.Second
	interruptEvery = 50 * time.Millisecond
)

// interruptible makes a call that is interrupted when ctx is done or after limit, which errLate
// tells, and returns what it has done by then. One that goes on means the end of the process.
func (i *instance) interruptible(ctx context.Context, what string, limit time.Duration,
	call func(ctx context.Context, number uint64) error,
) error {
	number := i.call.Add(1)
	rpc, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	interrupt := func() { i.interrupt(rpc, cancel, what, number) }
	defer context.AfterFunc(ctx, interrupt)()
	var late atomic.Bool
	defer time.AfterFunc(limit, func() {
		late.Store(true)
		interrupt()
	}).Stop()
	err := call(rpc, number)
	switch {
	case err == nil && late.Load() && ctx.Err() == nil:
		return errLate
	case err == nil:
		return nil
	}
	return i.process.failed(ctx, what, err)
}

// carrying makes a call with messages. If that costs the process its life, and a message may fail
// so many times before it is refused, this is not counted as a crash: it comes to an end by itself.
//
// It reports among if the process has died and other instances may have the blame for that. The
// next call of each is made while there is no other, so that it shows which one.
func (i *instance) carrying(b bridge.Batch, call func() error) (among bool, err error) {
	p, blaming := i.process, int64(min(i.env.Tries, 1))
	defer i.plugin.turn(i.env.Instance)()
	p.carrying.Add(1)
	p.blaming.Add(blaming)
	died := !p.alive() // before its turn
	if !died {
		err = call()
	}
	if died || p.alive() {
		p.carrying.Add(-1)
		p.blaming.Add(-blaming)
		if died {
			return true, p.outcome(nil, 0)
		}
		i.plugin.suspects.Delete(i.env.Instance)
		return false, err
	}
	if err != nil && p.carrying.Load() > 1 {
		i.plugin.suspects.Store(i.env.Instance, true)
		return true, err
	}
	if err != nil && len(b) == 1 {
		err = fmt.Errorf("%w; it had the message with topic %q and %s alone", err, clean(b[0].Topic, 100),
			bridge.Plural(len(b[0].Payload), "byte"))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.end = err
	}
	return false, err
}

// reopen replaces an instance whose process is lost.
func (i *instance) reopen(ctx context.Context) (*instance, error) {
	for {
		another, err := i.another(ctx)
		if err == nil {
			_ = i.Close() // its process is gone
			return another, nil
		}
		if bridge.IsPermanent(err) || ctx.Err() != nil {
			return i, err
		}
		i.env.Logger.Warn("open again", "err", err) // the plugin waits longer before each start
	}
}

// errLate says that a call was interrupted after its time, and has come back. What it returned is
// good.
var errLate = errors.New("it took too long")

// interrupt goes on until the call has returned, which ends rpc. The call may not have arrived yet,
// hence more than once.
func (i *instance) interrupt(rpc context.Context, cancel func(), what string, number uint64) {
	every := time.NewTicker(interruptEvery)
	defer every.Stop()
	late, stop := context.WithTimeout(rpc, interruptGrace)
	defer stop()
	for late.Err() == nil {
		_, _ = i.process.calls.Interrupt(late, &pluginpb.InterruptRequest{Instance: i.number, Call: number})
		select {
		case <-every.C:
		case <-late.Done():
		}
	}
	if rpc.Err() == nil {
		i.process.fail(fmt.Errorf("a call to %s did not return within %s of being interrupted", what, interruptGrace))
		cancel()
	}
}

// Close is the Close of source, sink and step.
func (i *instance) Close() error {
	i.once.Do(func() {
		if i.process.alive() {
			i.closeErr = i.close()
		}
		close(i.closed) // not before, since closing may save a checkpoint
		i.keeping.Wait()
	})
	return i.closeErr
}

func (i *instance) close() error {
	var answer *pluginpb.CloseResponse
	err := i.process.do(context.Background(), "close", func(ctx context.Context) (err error) {
		answer, err = i.process.calls.Close(ctx, &pluginpb.CloseRequest{Instance: i.number})
		return err
	})
	i.count(answer.GetDropped())
	if !i.process.alive() {
		return nil // it is closed indeed
	}
	return errors.Join(err, answer.GetError().Err())
}

// count tells the ledger of messages that were dropped.
func (i *instance) count(n uint64) {
	if n > 0 {
		i.env.Dropped(int(min(n, 1<<40)))
	}
}

// keepCheckpoints keeps what the source in the plugin wants to be kept, until the instance is
// closed.
func (i *instance) keepCheckpoints() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-i.closed:
		case <-i.process.gone:
		case <-ctx.Done():
		}
		cancel()
	}()
	wait := i.process.limits.Call // until it has one
	request := &pluginpb.NextCheckpointRequest{Instance: i.number, WaitMs: uint32(wait.Milliseconds())}
	for ctx.Err() == nil {
		var answer *pluginpb.NextCheckpointResponse
		err := i.process.within(ctx, wait+interruptGrace, "next checkpoint", func(ctx context.Context) (err error) {
			answer, err = i.process.calls.NextCheckpoint(ctx, request)
			return err
		})
		if err != nil {
			return // the instance is closed or lost, which Read and Close report
		}
		if answer.GetNumber() == 0 {
			continue
		}
		request.Kept = answer.GetNumber()
		request.Error = pluginpb.NewError(i.env.Checkpoint.Save(ctx, answer.GetCheckpoint()))
	}
}

// plain returns err without gRPC's words around it.
func plain(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := clean(strings.TrimSpace(s.Message()), 300)
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return errors.New("it took too long")
	case codes.Unavailable:
		return fmt.Errorf("the connection is broken: %s", text)
	case codes.ResourceExhausted:
		return fmt.Errorf("an answer is larger than it may be: %s", text)
	case codes.Unimplemented:
		return fmt.Errorf("the plugin does not know this call, it is made for another version: %s", text)
	default:
		return errors.New(text)
	}
}
