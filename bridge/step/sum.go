package step

import "hash/maphash"

// sum is what is remembered of a key, so that keys of messages cost the same whatever their size:
// 128 bits of a hash with a random seed. Two keys have the same one once in 10²⁸ of them.
type sum [2]uint64

// sums makes sums of keys.
type sums [2]maphash.Seed

func newSums() sums { return sums{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s *sums) of(key string) sum { return sum{maphash.String(s[0], key), maphash.String(s[1], key)} }
