package stdio

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// input lends standard input to one source at a time.
type input struct {
	mu     sync.Mutex // guards stream
	stream *stream
}

func (in *input) open(s *SourceSettings, env bridge.Env) (*source, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stream == nil || in.stream.from != env.Stdin {
		in.stream = newStream(env.Stdin)
	}
	if err := in.stream.lend(env); err != nil {
		return nil, err
	}
	in.stream.lines.Limit, in.stream.lines.Truncate = int(s.MaxLine), s.LongLines == "truncate"
	in.stream.lines.Use(s.Codec)
	return &source{stream: in.stream, codec: s.Codec, most: env.MaxBatch, closed: make(chan struct{})}, nil
}

// stream is standard input with what was read of it and not yet delivered. It
// outlives the sources, since a read that has begun cannot be taken back.
type stream struct {
	from    io.Reader
	size    int64 // 0 if from is no regular file
	results chan result

	// Of the source that has it.
	lines   *framing.Splitter
	done    int64 // bytes read
	reading bool
	ended   bool
	failure error // of a read that nobody has heard of yet

	mu      sync.Mutex // guards what follows
	env     bridge.Env // of the source that has, or had, it
	lent    bool
	dropped int // lines that are counted so, as long as no source has the stream
}

type result struct {
	n   int
	err error
}

func newStream(from io.Reader) *stream {
	s := &stream{from: from, lines: framing.NewSplitter(0), results: make(chan result, 1)}
	if f, ok := from.(*os.File); ok {
		s.size = remaining(f)
	}
	return s
}

// remaining returns how many bytes of a regular file lie ahead, else 0.
func remaining(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return max(0, info.Size()-at)
}

func (s *stream) lend(env bridge.Env) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent {
		return bridge.Permanent(errors.New("stdin is being read already"))
	}
	if s.dropped > 0 {
		env.Dropped(-s.dropped)
	}
	s.env, s.lent, s.dropped = env, true, 0
	if s.size > 0 {
		env.Progress(s.done, s.size)
	}
	return nil
}

// giveBack ends the use of the stream. What was read of it, also by a read that is still under way,
// counts as dropped until there is another source: there may never be one.
func (s *stream) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent = false
	s.count()
}

// count counts the lines that were read and not taken as dropped. The lock must be held, and no
// source have the stream.
func (s *stream) count() {
	select {
	case r := <-s.results:
		s.failure = s.finish(r)
	default:
	}
	n := s.lines.Held()
	if n > s.dropped {
		s.env.Logger.Info("lines were read from stdin that are not handed on", "n", n-s.dropped)
		s.env.Dropped(n - s.dropped)
	}
	s.dropped = n
}

// start begins a read, unless one is under way; its result comes on results.
func (s *stream) start() {
	if s.reading {
		return
	}
	s.reading = true
	if s.failure != nil {
		s.results <- result{err: s.failure}
		s.failure = nil
		return
	}
	if room := s.lines.Room(); s.size > 0 {
		s.read(room) // a file does not block
	} else {
		go s.read(room)
	}
}

// read begins when there is something to read, if that can be told: what comes when no source has
// the stream any more stays where it is.
func (s *stream) read(room []byte) {
	var r result
	brief := s.size > 0 || await(s.from)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !brief:
		s.mu.Unlock()
		r.n, r.err = s.from.Read(room)
		s.mu.Lock()
	case s.lent:
		r.n, r.err = s.from.Read(room)
	}
	s.results <- r
	if !s.lent {
		s.count()
	}
}

// finish takes over the result of a read.
func (s *stream) finish(r result) error {
	s.reading = false
	s.lines.Filled(r.n)
	if s.done += int64(r.n); s.size > 0 && r.n > 0 {
		s.env.Progress(s.done, max(s.done, s.size)) // it may have grown
	}
	if r.err == io.EOF { //nolint:errorlint // an io.Reader says it so
		s.ended = true
		return nil
	}
	return r.err
}
