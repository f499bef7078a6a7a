package plugin

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// limitFromEnv returns how many bytes a batch may have, which the bridge tells before the first
// call.
func limitFromEnv() int {
	n, err := strconv.Atoi(os.Getenv(pluginpb.LimitVariable))
	if err != nil || n < 1 {
		return pluginpb.DefaultLimit
	}
	return n
}

// server answers the calls of the bridge.
type server struct {
	pluginpb.UnimplementedConnectorServer
	registry *bridge.Registry
	log      *slog.Logger
	limit    int // bytes of a batch

	mu        sync.Mutex // guards the rest
	last      uint64
	instances map[uint64]*instance
}

func newServer(r *bridge.Registry, log *slog.Logger, limit int) *server {
	return &server{registry: r, log: log, limit: limit, instances: make(map[uint64]*instance)}
}

func (s *server) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	answer := new(pluginpb.DescribeResponse)
	if info, ok := debug.ReadBuildInfo(); ok {
		answer.Version = info.Main.Version
	}
	for _, name := range s.registry.Names() {
		c, _ := s.registry.Lookup(name)
		answer.Connectors = append(answer.Connectors, &pluginpb.ConnectorInfo{
			Name: c.Name, Summary: c.Summary, Example: c.Example,
			Source: roleInfo(c.Source, c.Delivery), Sink: roleInfo(c.Sink, c.Delivery), Step: roleInfo(c.Step, c.Delivery),
		})
	}
	return answer, nil
}

func roleInfo[T any](o bridge.Opener[T], delivery string) *pluginpb.RoleInfo {
	if o == nil {
		return nil
	}
	settings := o.Settings()
	info := describe(settings)
	info.Delivery = delivery
	for _, k := range config.Keys(settings) {
		info.Settings = append(info.Settings, &pluginpb.Setting{
			Name: k.Path, Type: k.Kind, Required: k.Required, Default: k.Default, Enum: k.Enum, Minimum: k.Min,
			Maximum: k.Max, Short: k.Short, Own: k.Own, Text: k.Doc, Path: k.File,
		})
	}
	return info
}

// describe returns what settings say of what they make.
func describe(settings any) *pluginpb.RoleInfo {
	s, ok := settings.(bridge.Described)
	if !ok {
		return new(pluginpb.RoleInfo)
	}
	d := s.Describe()
	return &pluginpb.RoleInfo{
		Level: pluginpb.Level(d.Guarantee.Level), Why: d.Guarantee.Why, StableIds: d.Guarantee.StableIDs,
		Ends: d.Ends, MaxUnacked: uint32(d.MaxUnacked), Holds: d.Holds, Exclusive: d.Exclusive,
	}
}

func (s *server) Check(ctx context.Context, r *pluginpb.CheckRequest) (*pluginpb.CheckResponse, error) {
	settings, err := s.settings(r.GetConnector(), r.GetRole())
	if err != nil {
		return nil, err
	}
	answer := new(pluginpb.CheckResponse)
	var mistakes config.Errors
	err = config.DecodePlain([]byte(r.GetSettings()), settings)
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			answer.Problems = append(answer.Problems, &pluginpb.Problem{Key: m.Key, Text: explain(m)})
		}
	case err != nil:
		answer.Problems = append(answer.Problems, &pluginpb.Problem{Text: err.Error()})
	default:
		answer.Problems = problems(s.check(ctx, r.GetConnector(), r.GetRole(), settings))
		answer.Role = describe(settings)
	}
	return answer, nil
}

// check asks the connector what is wrong with settings that are good as far as they themselves
// know.
func (s *server) check(ctx context.Context, name string, role pluginpb.Role, settings any) error {
	c, _ := s.registry.Lookup(name)
	switch role {
	case pluginpb.Role_SOURCE:
		return c.Source.Check(ctx, settings)
	case pluginpb.Role_SINK:
		return c.Sink.Check(ctx, settings)
	default:
		return c.Step.Check(ctx, settings)
	}
}

// problems takes apart what a connector says of its settings.
func problems(err error) (all []*pluginpb.Problem) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range several.Unwrap() {
			all = append(all, problems(err)...)
		}
		return all
	}
	var k *bridge.KeyError
	switch {
	case errors.As(err, &k):
		all = append(all, &pluginpb.Problem{Key: k.Key, Text: k.Err.Error()})
	case err != nil:
		all = append(all, &pluginpb.Problem{Text: err.Error()})
	}
	return all
}

// explain returns what a mistake is without the place, which the bridge knows better, and without
// the key, which it adds.
func explain(m *config.Error) string {
	text := m.Message
	if m.Key != "" && len(text) > len(m.Key)+2 && text[:len(m.Key)] == m.Key {
		text = text[len(m.Key)+2:]
	}
	if m.Hint != "" {
		text += "; " + m.Hint
	}
	return text
}

// settings returns new settings of a connector in a role.
func (s *server) settings(name string, role pluginpb.Role) (any, error) {
	c, ok := s.registry.Lookup(name)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "this plugin has no connector %q", name)
	}
	switch {
	case role == pluginpb.Role_SOURCE && c.Source != nil:
		return c.Source.Settings(), nil
	case role == pluginpb.Role_SINK && c.Sink != nil:
		return c.Sink.Settings(), nil
	case role == pluginpb.Role_STEP && c.Step != nil:
		return c.Step.Settings(), nil
	}
	return nil, status.Errorf(codes.InvalidArgument, "connector %q cannot be a %s", name, role)
}

func (s *server) Open(ctx context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	settings, err := s.settings(r.GetConnector(), r.GetRole())
	if err != nil {
		return nil, err
	}
	if err := config.DecodePlain([]byte(r.GetSettings()), settings); err != nil {
		return &pluginpb.OpenResponse{Error: pluginpb.NewError(bridge.Permanent(err))}, nil
	}
	// One that does not return in time costs the process its life, so that one that heeds its
	// context must be told before.
	opening := ctx
	if end, is := ctx.Deadline(); is {
		var cancel context.CancelFunc
		opening, cancel = context.WithDeadline(ctx, end.Add(-min(5*time.Second, time.Until(end)/4)))
		defer cancel()
	}
	i := newInstance(r, s.log, min(s.limit, int(min(r.GetMaxBytes(), 1<<30))))
	c, _ := s.registry.Lookup(r.GetConnector())
	if err := i.open(opening, c, r.GetRole(), settings); err != nil {
		return &pluginpb.OpenResponse{Error: pluginpb.NewError(err)}, nil
	}
	if ctx.Err() != nil { // nobody will close it
		return nil, errors.Join(ctx.Err(), i.close(ctx))
	}
	answer := &pluginpb.OpenResponse{Checkpoints: i.checkpoint != nil, NeedsId: i.needsID.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.instances[s.last] = i
	answer.Instance = s.last
	return answer, nil
}

// instance returns the open instance of that number.
func (s *server) instance(number uint64) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.instances[number]
	if i == nil {
		return nil, status.Errorf(codes.NotFound, "there is no open instance %d", number)
	}
	return i, nil
}

func (s *server) Read(ctx context.Context, r *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return nil, err
	}
	if i.source == nil {
		return nil, misused(i)
	}
	return i.read(ctx, r)
}

func (s *server) Ack(ctx context.Context, r *pluginpb.AckRequest) (*pluginpb.AckResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return nil, err
	}
	return i.ack(ctx, r)
}

func (s *server) NextCheckpoint(ctx context.Context, r *pluginpb.NextCheckpointRequest,
) (*pluginpb.NextCheckpointResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return nil, err
	}
	if i.checkpoint == nil {
		return nil, misused(i)
	}
	return i.checkpoint.next(ctx, r), nil
}

func (s *server) Write(ctx context.Context, r *pluginpb.WriteRequest) (*pluginpb.WriteResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return nil, err
	}
	if i.sink == nil {
		return nil, misused(i)
	}
	batch, err := r.GetBatch().Messages()
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ctx, done := i.calls.begin(ctx, r.GetCall())
	defer done()
	var result bridge.Result
	err = i.guard(func() (err error) {
		result, err = i.sink.Write(ctx, batch)
		return err
	})
	return &pluginpb.WriteResponse{
		Settled: uint32(result.Settled), Refused: pluginpb.NewRefusals(result.Refused),
		Omitted: pluginpb.Indices(result.Omitted),
		Error:   pluginpb.NewError(err),
	}, nil
}

func (s *server) Process(ctx context.Context, r *pluginpb.ProcessRequest) (*pluginpb.ProcessResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return nil, err
	}
	if i.step == nil {
		return nil, misused(i)
	}
	batch, err := r.GetBatch().Messages()
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ctx, done := i.calls.begin(ctx, r.GetCall())
	defer done()
	var said *bridge.Outcome
	err = i.guard(func() (err error) {
		said, err = i.runner.Process(ctx, i.step, r.GetSequence(), batch, r.GetLast())
		return err
	})
	if err != nil {
		return &pluginpb.ProcessResponse{Error: pluginpb.NewError(err)}, nil
	}
	return pluginpb.NewProcessResponse(said, i.limit), nil
}

func (s *server) Interrupt(_ context.Context, r *pluginpb.InterruptRequest) (*pluginpb.InterruptResponse, error) {
	if i, err := s.instance(r.GetInstance()); err == nil {
		i.calls.interrupt(r.GetCall())
	}
	return new(pluginpb.InterruptResponse), nil
}

func (s *server) Close(ctx context.Context, r *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	i, err := s.instance(r.GetInstance())
	if err != nil {
		return new(pluginpb.CloseResponse), nil
	}
	err = i.close(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.instances, r.GetInstance()) // not before, since closing may save a checkpoint
	return &pluginpb.CloseResponse{Error: pluginpb.NewError(err), Dropped: i.dropped.Swap(0)}, nil
}

func (s *server) Health(context.Context, *pluginpb.HealthRequest) (*pluginpb.HealthResponse, error) {
	return new(pluginpb.HealthResponse), nil
}

func misused(i *instance) error {
	return status.Errorf(codes.InvalidArgument, "the call is not for a %s", i.role)
}
