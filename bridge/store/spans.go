package store

import "slices"

// span is messages from one number to another, both included.
type span struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// spans are in order, and apart. They are never changed in place.
type spans []span

// mostSpans is how many are saved.
const mostSpans = 1000

func (s spans) count() (n uint64) {
	for _, one := range s {
		n += one.Last - one.First + 1
	}
	return n
}

// with returns s and that one.
func (s spans) with(one span) spans {
	if one.First > one.Last {
		return s
	}
	i := slices.IndexFunc(s, func(o span) bool { return o.Last+1 >= one.First })
	if i < 0 {
		return append(slices.Clip(s), one)
	}
	k := i
	for ; k < len(s) && s[k].First <= one.Last+1; k++ {
		one = span{min(one.First, s[k].First), max(one.Last, s[k].Last)}
	}
	return slices.Concat(s[:i], spans{one}, s[k:])
}

// cut returns how many are up to a number, and the others.
func (s spans) cut(number uint64) (gone uint64, rest spans) {
	for len(s) > 0 && s[0].Last <= number {
		gone, s = gone+s[0].Last-s[0].First+1, s[1:]
	}
	if len(s) == 0 {
		return gone, nil
	}
	if first := s[0].First; first <= number {
		gone += number - first + 1
		s = slices.Concat(spans{{number + 1, s[0].Last}}, s[1:])
	}
	return gone, s
}

// has reports whether all of one are among them.
func (s spans) has(one span) bool {
	return slices.ContainsFunc(s, func(o span) bool { return o.First <= one.First && one.Last <= o.Last })
}
