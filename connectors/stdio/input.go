package stdio

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// input lends standard input to one source at a time.
type input struct {
	mu     sync.Mutex // guards the rest
	stream *stream
	lent   bool
}

func (in *input) open(s *SourceSettings, env bridge.Env) (*source, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stream == nil || in.stream.from != env.Stdin {
		in.stream, in.lent = newStream(env.Stdin), false
	}
	if in.lent {
		return nil, bridge.Permanent(errors.New("stdin is being read already"))
	}
	in.lent = true
	stream := in.stream
	return &source{
		stream: stream,
		limit:  int(s.MaxLine),
		most:   env.MaxBatch,
		closed: make(chan struct{}),
		giveBack: func() {
			in.mu.Lock()
			defer in.mu.Unlock()
			if in.stream == stream {
				in.lent = false
			}
		},
	}, nil
}

// stream is standard input with what was read of it and not yet delivered. It
// outlives the sources, since a read that has begun cannot be taken back.
type stream struct {
	from  io.Reader
	lines *framing.Splitter
	size  int64        // 0 if from is no regular file
	done  atomic.Int64 // bytes read

	reading bool
	results chan result
	ended   bool
}

type result struct {
	n   int
	err error
}

func newStream(from io.Reader) *stream {
	s := &stream{from: from, lines: framing.NewSplitter(), results: make(chan result, 1)}
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

// start begins a read, unless one is under way; its result comes on results.
func (s *stream) start() {
	if s.reading {
		return
	}
	s.reading = true
	if room := s.lines.Room(); s.size > 0 {
		s.read(room) // a file does not block
	} else {
		go s.read(room)
	}
}

func (s *stream) read(room []byte) {
	n, err := s.from.Read(room)
	s.results <- result{n, err}
}

// finish takes over the result of a read.
func (s *stream) finish(r result) error {
	s.reading = false
	s.lines.Filled(r.n)
	s.done.Add(int64(r.n))
	if r.err == io.EOF { //nolint:errorlint // an io.Reader says it so
		s.ended = true
		return nil
	}
	return r.err
}
