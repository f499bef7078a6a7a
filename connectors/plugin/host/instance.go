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
	wrap        func(o opener[T], settings any, i *instance) T
}

func (o opener[T]) Settings() any { return o.settings() }

// Describe stands for the method of settings, which have none since their type is made of a schema.
func (o opener[T]) Describe() bridge.Description { return o.description }

// Check asks the plugin what is wrong with the settings, beyond what their struct says.
func (o opener[T]) Check(ctx context.Context, settings any) error {
	document, err := config.Encode(settings)
	if err != nil {
		return fmt.Errorf("plugin %q: %w", o.plugin.Name, err)
	}
	r, err := o.plugin.running(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.plugin.settings.Limits.Call)
	defer cancel()
	answer, err := r.calls.Check(ctx, &pluginpb.CheckRequest{Connector: o.connector, Role: o.role, Settings: string(document)})
	if err != nil {
		return r.outcome(fmt.Errorf("check settings: %w", plain(err)))
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

func (o opener[T]) Open(ctx context.Context, settings any, env bridge.Env) (T, error) {
	i, err := o.open(ctx, settings, env)
	if err != nil {
		var none T
		return none, err
	}
	return o.wrap(o, settings, i), nil
}

func (o opener[T]) open(ctx context.Context, settings any, env bridge.Env) (*instance, error) {
	document, err := config.Encode(settings)
	if err != nil {
		return nil, bridge.Permanent(fmt.Errorf("plugin %q: %w", o.plugin.Name, err))
	}
	r, err := o.plugin.running(ctx)
	if err != nil {
		return nil, err
	}
	i := &instance{process: r, env: env, limit: int(o.plugin.settings.Limits.Message), closed: make(chan struct{})}
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
	process *process
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
	err := i.do(ctx, "open", func(ctx context.Context) (err error) {
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

// do makes a call that Interrupt does not end. One that goes on for too long means the end of the
// process.
func (i *instance) do(ctx context.Context, what string, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, i.process.limits.Call)
	defer cancel()
	err := call(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if limited.Err() != nil || status.Code(err) == codes.DeadlineExceeded { // whose clock is first
		i.process.fail(fmt.Errorf("a call to %s did not return within %s", what, i.process.limits.Call))
	}
	return i.process.outcome(fmt.Errorf("%s: %w", what, plain(err)))
}

// How long a call may go on after it was interrupted, and how often it is told.
const (
	interruptGrace = 5 * time.Second
	interruptEvery = 50 * time.Millisecond
)

// interruptible makes a call that is interrupted when ctx is done or after limit, which errLate
// tells, and returns what it has done by then. One that goes on means the end of the process.
func (i *instance) interruptible(ctx context.Context, what string, limit time.Duration, call func(ctx context.Context, number uint64) error) error {
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
	return i.process.outcome(fmt.Errorf("%s: %w", what, plain(err)))
}

// errLate says that a call was interrupted after its time, and has come back. What it returned is
// good.
var errLate = errors.New("it took too long")

// interrupt goes on until the call has returned, which ends rpc. The call may not have arrived yet,
// hence more than once.
func (i *instance) interrupt(rpc context.Context, cancel func(), what string, number uint64) {
	every := time.NewTicker(interruptEvery)
	defer every.Stop()
	late := time.NewTimer(interruptGrace)
	defer late.Stop()
	for {
		_, _ = i.process.calls.Interrupt(rpc, &pluginpb.InterruptRequest{Instance: i.number, Call: number})
		select {
		case <-every.C:
		case <-rpc.Done():
			return
		case <-late.C:
			i.process.fail(fmt.Errorf("a call to %s did not return within %s of being interrupted", what, interruptGrace))
			cancel()
			return
		}
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
	err := i.do(context.Background(), "close", func(ctx context.Context) (err error) {
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

// checkpointWait is how long a plugin may wait until it has a checkpoint to keep.
const checkpointWait = 5 * time.Second

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
	request := &pluginpb.NextCheckpointRequest{Instance: i.number, WaitMs: uint32(checkpointWait.Milliseconds())}
	for ctx.Err() == nil {
		answer, err := i.next(ctx, request)
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

func (i *instance) next(ctx context.Context, request *pluginpb.NextCheckpointRequest) (*pluginpb.NextCheckpointResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, checkpointWait+i.process.limits.Call)
	defer cancel()
	return i.process.calls.NextCheckpoint(ctx, request)
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
