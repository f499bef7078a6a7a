package xrtc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

var _ bridge.Sink = (*sink)(nil)

// sink sets items.
type sink struct {
	*connection
	set    *SinkSettings
	env    bridge.Env
	most   int          // bytes of a request
	size   atomic.Int64 // what requests of several messages are kept to, since the server seems to take no more
	took   atomic.Int64 // how long an answer takes lately
	paid   atomic.Bool  // the next request may go at once
	shrunk sync.Once
	packs  sync.Pool // of *sdk.Pack
}

func (r *keyring) openSink(ctx context.Context, set *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	c, err := r.connect(ctx, &set.ClientSettings, env, false, set.Rate)
	if err != nil {
		return nil, err
	}
	s := &sink{connection: c, set: set, env: env}
	s.packs.New = func() any { return new(sdk.Pack) }
	s.most = s.sizeMax()
	s.size.Store(int64(s.most))
	if set.Overflow == "block" {
		if err := s.findPortals(ctx); err != nil {
			return nil, errors.Join(classify(err), s.Close())
		}
	}
	return s, nil
}

// findPortals notes the portals that others have written to, or the process before this one. It
// asks the server once.
func (s *sink) findPortals(ctx context.Context) error {
	s.portals.mu.Lock()
	asked := s.portals.asked
	s.portals.mu.Unlock()
	if asked {
		return nil
	}
	items, err := s.Get(ctx, sdk.GetRequest{})
	s.portals.mu.Lock()
	defer s.portals.mu.Unlock()
	ahead := time.Since(s.LoginTime()) // of the server's clock, about
	for i := range items {
		s.portals.enter(items[i].PortalID, items[i].Time.Add(ahead), math.MaxInt, 0)
	}
	s.portals.asked = err == nil
	return err
}

// portalsMax returns how many portals there may be.
func (s *sink) portalsMax() int { return cmp.Or(s.set.MaxPortals, s.limits.PortalsCountMax) }

// letter is a message on its way into a portal.
type letter struct {
	portal string
	text   []byte
	at     int // index in the batch
}

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil {
		return bridge.Result{}, err
	}
	letters, r := s.letters(batch)
	if s.set.Overflow == "conflate" && s.limited() { // without a rate nothing comes too fast
		letters, r.Omitted = conflate(letters)
	}
	err := s.deliver(ctx, letters, &r)
	if r.Settled == len(batch) {
		s.prepay(ctx)
	}
	return r, err
}

// letters turns messages into letters. The result has those that can never be delivered, and says
// that all are settled.
func (s *sink) letters(batch bridge.Batch) ([]letter, bridge.Result) {
	letters, r := make([]letter, 0, len(batch)), bridge.Result{Settled: len(batch)}
	now := time.Now()
	s.portals.mu.Lock()
	defer s.portals.mu.Unlock()
	for i := range batch {
		l, err := s.letter(&batch[i], now)
		if err != nil {
			r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: err})
			continue
		}
		l.at = i
		letters = append(letters, l)
	}
	return letters, r
}

func (s *sink) letter(m *bridge.Message, now time.Time) (l letter, err error) {
	if l.portal, err = s.set.Portal.Render(m); err != nil {
		return l, fmt.Errorf("render portal: %w", err)
	}
	payload := m.Payload
	if s.set.Envelope {
		if payload, err = seal(m); err != nil {
			return l, err
		}
	}
	if l.text, err = encode(s.set.Encode, payload); err != nil {
		return l, err
	}
	if err := sdk.CheckItem(l.portal, l.text); err != nil {
		return l, fmt.Errorf("%w; {{ portalid(topic) }} makes a portal id of any topic", err)
	}
	if size := sdk.SizeOf(l.portal, l.text); size > s.most {
		return l, fmt.Errorf("a payload of %d bytes makes a request of %d bytes, and %d are the most (%s)",
			len(m.Payload), size, s.most, s.sizeName())
	}
	if !s.portals.enter(l.portal, now, s.portalsMax(), s.limits.ItemAgeMax) {
		if s.set.Overflow == "block" {
			return l, fmt.Errorf("portal %s would be one more than the %d that the account may have (%s), "+
				"and the server would throw another away, with its items; "+
				"use fewer, or overflow: conflate or drop if that does not matter", l.portal, s.portalsMax(),
				"PORTALS_COUNT_MAX, max_portals")
		}
		if !s.portals.warned {
			s.portals.warned = true
			s.env.Logger.Warn("more portals than the account may have: the server throws away those written least "+
				"recently", "portals", s.portalsMax())
		}
	}
	return l, nil
}

// sizeMax returns how large a request may be: what the setting says, unless the server says less.
func (s *sink) sizeMax() int {
	most, set := min(s.limits.PayloadSizeMax, sdk.RequestSizeMax), int(s.set.MaxRequest)
	if set > 0 && (set < most || !s.limits.Announced) {
		return set
	}
	return most
}

func (s *sink) sizeName() string {
	switch {
	case int(s.set.MaxRequest) == s.most:
		return "max_request"
	case s.limits.Announced:
		return "PAYLOAD_SIZE_MAX, which the server announced"
	}
	return "PAYLOAD_SIZE_MAX of the public service; max_request overrules it"
}

// conflate keeps the last letter of each portal, in their order, and returns where the others were.
func conflate(letters []letter) (kept []letter, omitted []int) {
	last := make(map[string]int, 16)
	for i := range letters {
		last[letters[i].portal] = i
	}
	kept = letters[:0]
	for i := range letters {
		if last[letters[i].portal] == i {
			kept = append(kept, letters[i])
		} else {
			omitted = append(omitted, letters[i].at)
		}
	}
	return kept, omitted
}

// deliver sets the letters, and notes in r what became of them.
func (s *sink) deliver(ctx context.Context, letters []letter, r *bridge.Result) (err error) {
	lanes := s.lanes(letters)
	results := make([]laneResult, len(lanes))
	if len(lanes) == 1 {
		results[0] = s.send(ctx, lanes[0])
	} else {
		var sending sync.WaitGroup
		for i := range lanes {
			sending.Go(func() { results[i] = s.send(ctx, lanes[i]) })
		}
		sending.Wait()
	}
	for i, sent := range results {
		r.Refused = append(r.Refused, sent.refused...)
		rest := lanes[i][sent.done:]
		switch {
		case sent.err != nil && rest[0].at < r.Settled:
			r.Settled, err = rest[0].at, sent.err
		case sent.err == nil:
			for k := range rest {
				r.Omitted = append(r.Omitted, rest[k].at)
			}
		}
	}
	slices.SortFunc(r.Refused, func(a, b bridge.Refusal) int { return a.Index - b.Index })
	slices.Sort(r.Omitted)
	r.Refused = slices.DeleteFunc(r.Refused, func(f bridge.Refusal) bool { return f.Index >= r.Settled })
	r.Omitted = slices.DeleteFunc(r.Omitted, func(i int) bool { return i >= r.Settled })
	return err
}

// laneResult is what became of the letters of a lane.
type laneResult struct {
	done    int // letters at the front that are set or refused
	refused bridge.Refusals
	err     error // why no more are, if the rest must be set again
}

// send sets letters of which no other lane has the portals, request after request. Without an error
// that is all of them, or with overflow drop as many as the rate allows.
func (s *sink) send(ctx context.Context, letters []letter) (r laneResult) {
	p := s.packs.Get().(*sdk.Pack)
	most := len(letters) // in a request
	for r.done < len(letters) {
		if r.done > 0 && s.set.Overflow == "drop" {
			if !s.pacer.Allow() {
				break
			}
		} else if r.err = s.pay(ctx); r.err != nil {
			return r
		}
		p.Reset()
		size := int(s.size.Load())
		next := &letters[r.done]
		p.Add(next.portal, next.text, s.most)
		for s.set.Pack && r.done+p.Len() < len(letters) && p.Len() < most {
			if l := &letters[r.done+p.Len()]; !p.Add(l.portal, l.text, size) {
				break
			}
		}
		body := p.Body()
		began := time.Now()
		_, err := s.SetEncoded(ctx, body)
		switch {
		case err == nil:
			s.took.Store((3*s.took.Load() + int64(time.Since(began))) / 4)
			r.done += p.Len()
			most = len(letters)
			s.grow()
		case !aboutRequest(err):
			r.err = classify(err) // the transport may still hold the pack
			return r
		case p.Len() == 1:
			r.refuse(next, fmt.Errorf("portal %s: %w", next.portal, err))
			most = len(letters)
			s.size.Store(int64(s.most)) // this one was to blame, and not the size of requests
		default: // which one it is about the server does not say
			most = p.Len() / 2
			if errors.Is(err, sdk.ErrParse) {
				s.shrink(len(body))
			}
		}
	}
	s.packs.Put(p)
	return r
}

// refuse notes that the next letter can never be set.
func (r *laneResult) refuse(l *letter, reason error) {
	r.refused = append(r.refused, bridge.Refusal{Index: l.at, Err: reason})
	r.done++
}

// aboutRequest reports whether the server dislikes what a request says, and not who makes it, or
// how often.
func aboutRequest(err error) bool {
	for _, is := range []error{sdk.ErrParse, sdk.ErrInvalidArguments, sdk.ErrTooLarge, sdk.ErrRequest} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// shrink makes requests smaller after the server refused one: it may take less than it is known to.
func (s *sink) shrink(refused int) {
	half := int64(max(minRequest, refused/2))
	if s.size.Load() > half {
		s.size.Store(half)
		s.shrunk.Do(func() {
			s.env.Logger.Warn("the server refused a request, trying smaller ones: max_request sets their size",
				"bytes", refused, "now", half)
		})
	}
}

// grow makes requests a little larger again after one was taken: what was learned may have been
// wrong, or not hold any more.
func (s *sink) grow() {
	if size := s.size.Load(); size < int64(s.most) {
		s.size.CompareAndSwap(size, min(int64(s.most), size+size/64+1))
	}
}

// pay waits until a request may be sent.
func (s *sink) pay(ctx context.Context) error {
	if s.paid.CompareAndSwap(true, false) {
		return nil
	}
	return s.pacer.Wait(ctx)
}

// prepay waits, when everything is delivered, until the next request may be sent, so that the next
// batch has all that comes meanwhile, and need not wait.
func (s *sink) prepay(ctx context.Context) {
	if s.limited() && !s.paid.Load() && s.pacer.Wait(ctx) == nil {
		s.paid.Store(true)
	}
}

// lanes shares letters out so that several requests can be on their way, each for other portals, if
// there are that many and the rate leaves room for them.
func (s *sink) lanes(letters []letter) [][]letter {
	bytes := 0
	for i := range letters {
		bytes += len(letters[i].text) + letterOverhead
	}
	size := int(s.size.Load())
	n := min(s.set.Parallel, (bytes+size-1)/size)
	if !s.set.Pack {
		n = min(s.set.Parallel, len(letters))
	}
	if s.limited() {
		n = min(n, int(float64(s.pacer.Limit())*time.Duration(s.took.Load()).Seconds())+1)
	}
	if n <= 1 || s.set.Overflow == "drop" {
		return [][]letter{letters}
	}
	lanes, loads, of := make([][]letter, n), make([]int, n), make(map[string]int)
	for _, l := range letters {
		lane, known := of[l.portal]
		if !known {
			for i := range loads {
				if loads[i] < loads[lane] {
					lane = i
				}
			}
			of[l.portal] = lane
		}
		loads[lane] += len(l.text) + letterOverhead
		lanes[lane] = append(lanes[lane], l)
	}
	used := lanes[:0]
	for _, l := range lanes {
		if len(l) > 0 {
			used = append(used, l)
		}
	}
	return used
}

// letterOverhead is about what a letter takes in a request beside its text.
const letterOverhead = 50
