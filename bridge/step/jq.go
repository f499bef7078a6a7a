package step

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed jq.yaml
var jqExample string

// JQ returns the connector jq, a step that makes messages of a message by a program of jq, as
// github.com/itchyny/gojq runs it.
//
// # Settings
//
// program is what runs for each JSON payload. $topic, $header (an object) and $time (as RFC 3339)
// are of the message. Each output becomes the payload of a message: a text as it is, anything else
// as JSON on one line. No output means that the message is left out, which counts as filtered.
// max_steps, max_messages and max_output bound what one message may make of the program: what a
// step may take far more time or memory for than others counts as many, among it long texts, lists
// and objects that are added, multiplied, compared, searched or matched, and a payload that nests
// deep.
//
// # Numbers
//
// A number that the program only passes on keeps its digits. Sums, differences, products and
// quotients without a rest of whole numbers are exact at any size; whatever else is computed with
// is a float64. Keys of objects come out sorted.
//
// # Security
//
// The program reaches no environment, no file and no other message: $ENV, env, input, inputs,
// import and include are mistakes of the file. now is the clock of the pipeline. What a message can
// make the program take is bounded by max_steps and by the time that follows from it, some 2 µs a
// step of a processor, or of the clock where there is no Linux: what goes through the whole of a
// value can be one step, like setpath or ==, and who does that for each of its items runs out of
// time before steps. It may hold 256 MiB of lists and objects at a time beside the message; those
// that it throws away, like the copy that an assignment makes, cost time only. Time and memory are
// looked at between steps only. Hence values that the program itself makes of one another many
// times over, like [., .] in a loop, are not bounded: going through these can be one step.
//
// # Errors
//
// A message is refused if its payload is not one JSON value, or has numbers of tens of thousands of
// digits or with an exponent beyond 1,000, if the program gives an error or writes to an index that
// is beyond a million and the size of the message, or if a bound is reached; nothing of it goes on
// then. The reason shows nothing of the message, nor what the program says by error.
func JQ() bridge.Connector {
	return bridge.Connector{
		Name:     "jq",
		Summary:  "makes messages of a JSON payload by a program of jq",
		Delivery: "each output is a message; no output is counted as filtered",
		Example:  jqExample,
		Step:     bridge.NewOpener(jqSettings{MaxSteps: 1_000_000, MaxMessages: 10_000, MaxOutput: 16 << 20}, openJQ),
	}
}

type jqSettings struct {
	Program     string      `yaml:"program,short,required" doc:"a program of jq; it has $topic, $header and $time, too"`
	MaxSteps    int         `yaml:"max_steps" min:"1000" max:"10000000" doc:"steps for one message; a million take some 0.05 s, and may take 2.5 s"`
	MaxMessages int         `yaml:"max_messages" min:"1" max:"1000000" doc:"how many messages it may make of one"`
	MaxOutput   bridge.Size `yaml:"max_output" doc:"how large they may be together"`
}

// Describe says that a message that comes again is the same one.
func (*jqSettings) Describe() bridge.Description { return repeats() }

// Validate compiles the program.
func (s *jqSettings) Validate() error {
	if s.MaxOutput <= 0 {
		return bridge.KeyErrorf("max_output", "must be more than 0")
	}
	if _, err := s.compile(new(jqMeter)); err != nil {
		return bridge.KeyErrorf("program", "%w", err)
	}
	return nil
}

// clockName is that of the variable which stands for the time.
const clockName = "$__clock__"

func (s *jqSettings) compile(m *jqMeter) (*gojq.Code, error) {
	program, err := gojq.Parse(s.Program)
	if err != nil {
		at, ok := errors.AsType[*gojq.ParseError](err)
		if !ok {
			return nil, errors.New("the program does not compile")
		}
		before := s.Program[:max(min(at.Offset, len(s.Program))-len(at.Token), 0)]
		line := 1 + bytes.Count([]byte(before), []byte("\n"))
		column := 1 + utf8.RuneCountInString(before[bytes.LastIndexByte([]byte(before), '\n')+1:])
		return nil, fmt.Errorf("%w at line %d, character %d of the program", err, line, column)
	}
	prelude, err := gojq.Parse(jqPrelude)
	if err != nil {
		return nil, err
	}
	m.meter(program)
	program.FuncDefs = append(prelude.FuncDefs, program.FuncDefs...)
	environment := false
	code, err := gojq.Compile(program, append(m.options(),
		gojq.WithVariables([]string{"$topic", "$header", "$time", clockName}),
		gojq.WithEnvironLoader(func() []string { environment = true; return nil }))...)
	switch {
	case environment:
		return nil, errors.New("the program asks for the environment, which it cannot see; write ${NAME} in its place")
	case err != nil && len(program.Imports) > 0:
		return nil, errors.New("the program asks for a module, and there are none here")
	}
	return code, err
}

func openJQ(_ context.Context, s *jqSettings, env bridge.Env) (bridge.Step, error) {
	j := &jq{settings: s, now: env.Clock.Now}
	var err error
	j.code, err = s.compile(&j.meter)
	return j, bridge.Permanent(err)
}

type jq struct {
	settings *jqSettings
	code     *gojq.Code
	meter    jqMeter
	now      func() time.Time
	read     int // bytes since it was compiled
	payloads [][]byte
}

// mostRead is after how many bytes a program is compiled again: its code keeps all patterns that it
// has seen, which may come from messages.
const mostRead = 4 << 20

func (s *jq) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i := range batch {
		m := batch[i]
		if s.read += len(m.Payload); s.read > mostRead {
			code, err := s.settings.compile(&s.meter)
			if err != nil {
				return err
			}
			s.code, s.read = code, len(m.Payload)
		}
		if err := s.run(ctx, &m); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			out.Refuse(i, fmt.Errorf("jq: %w", err))
			continue
		}
		for _, m.Payload = range s.payloads {
			out.Emit(i, m)
		}
		if len(s.payloads) == 0 {
			out.Drop(i)
		}
	}
	return nil
}

func (*jq) Close() error { return nil }

// run collects what the program makes of m.
func (s *jq) run(ctx context.Context, m *bridge.Message) error {
	clear(s.payloads)
	s.payloads = s.payloads[:0]
	value, err := decodeJSON(m.Payload)
	if err != nil {
		return err
	}
	var size load
	if err := size.add(value, 1); err != nil {
		return err
	}
	header := make(map[string]any, len(m.Header))
	for k, v := range m.Header {
		header[k] = v
	}
	left := int(s.settings.MaxOutput)
	// A path to each value takes memory by how deep it is.
	steps := newStepLimit(ctx, s.settings.MaxSteps)
	defer steps.end()
	steps.left -= size.depths / 16
	s.meter.steps, s.meter.most, s.meter.items = steps, max(1<<20, len(m.Payload)), len(m.Payload)
	outputs := s.code.RunWithContext(steps, value, m.Topic, header, m.Time.Format(time.RFC3339Nano),
		float64(s.now().UnixMicro())/1e6)
	steps.memory.begin(outputs, value)
	for {
		value, more := outputs.Next()
		if !more {
			return nil
		}
		if err, failed := value.(error); failed {
			if halt, ok := errors.AsType[*gojq.HaltError](err); ok && halt.Value() == nil {
				return nil
			}
			return errors.New(jqReason(err))
		}
		if len(s.payloads) == s.settings.MaxMessages {
			return errors.New("the program makes more than max_messages of this message")
		}
		if left = measure(value, left, 0); left < 0 {
			return errors.New("the program makes more than max_output of this message, or nests it too deep")
		}
		text, isText := value.(string)
		payload := []byte(text)
		if !isText {
			if payload, err = gojq.Marshal(value); err != nil {
				return errors.New("the output cannot be written as JSON")
			}
		}
		s.payloads = append(s.payloads, payload)
	}
}

// decodeJSON keeps the digits of numbers.
func decodeJSON(payload []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if d.Decode(&value) == nil {
		if _, err := d.Token(); err == io.EOF {
			return value, nil
		}
	}
	return nil, errors.New("the payload is not JSON")
}

// measure returns what is left of a number of bytes after v is written, or less than 0. It stops
// there: what was made of one list many times is small in memory and may yet be endless.
func measure(v any, left, depth int) int {
	const deepest = 10_000 // as encoding/json reads
	if left -= 2; left < 0 || depth > deepest {
		return -1
	}
	switch v := v.(type) {
	case string:
		left -= len(v)
	case json.Number:
		left -= len(v)
	case int, float64:
		left -= 6
	case *big.Int:
		left -= v.BitLen() / 3
	case []any:
		for _, item := range v {
			if left = measure(item, left, depth+1); left < 0 {
				return -1
			}
		}
	case map[string]any:
		for k, item := range v {
			if left = measure(item, left-len(k)-3, depth+1); left < 0 {
				return -1
			}
		}
	}
	return left
}

var (
	jqDivision = regexp.MustCompile(`^cannot (divide|modulo) `)
	jqType     = regexp.MustCompile(`^((?:cannot|expected|invalid path|@?[a-z0-9_]+ cannot be applied to|` +
		`@[a-z]+ cannot format)[a-z ]*): (null|boolean|number|string|array|object)\b`)
)

// jqReason says what went wrong without the values that the error quotes.
func jqReason(err error) string {
	if own, ok := errors.AsType[jqError](err); ok {
		return own.Error()
	}
	if _, own := errors.AsType[gojq.ValueError](err); own {
		return "the program gives an error"
	}
	text := err.Error()
	if m := jqType.FindStringSubmatch(text); m != nil {
		return m[1] + ": " + m[2]
	}
	if jqDivision.MatchString(text) {
		return "cannot divide by zero"
	}
	return "the program fails for this message"
}
