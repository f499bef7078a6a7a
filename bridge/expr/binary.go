package expr

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// binaryAdditions are functions that read a number out of a binary payload: uint16be(payload, 3) is
// that of its bytes 3 and 4, of which the first is the more significant one. With le it is the
// last.
func binaryAdditions() []addition {
	all := []addition{
		numberAt("uint8", 1, false, unsigned, new(int)),
		numberAt("int8", 1, false, signed(1), new(int)),
	}
	for _, little := range []bool{false, true} {
		order := map[bool]string{false: "be", true: "le"}[little]
		for _, width := range []int{2, 3, 4, 8} {
			all = append(all,
				numberAt(fmt.Sprintf("uint%d%s", 8*width, order), width, little, unsigned, new(any)),
				numberAt(fmt.Sprintf("int%d%s", 8*width, order), width, little, signed(width), new(int)))
		}
		single := func(bits uint64) any { return float64(math.Float32frombits(uint32(bits))) }
		double := func(bits uint64) any { return math.Float64frombits(bits) }
		all = append(all,
			numberAt("float32"+order, 4, little, single, new(float64)),
			numberAt("float64"+order, 8, little, double, new(float64)))
	}
	return all
}

// unsigned returns an int if it can, see number.
func unsigned(bits uint64) any {
	if bits > math.MaxInt64 {
		return json.Number(strconv.FormatUint(bits, 10))
	}
	return int(bits)
}

func signed(width int) func(uint64) any {
	unused := 64 - 8*width
	return func(bits uint64) any { return int(int64(bits<<unused) >> unused) }
}

// numberAt makes the function of that name; result points to what it returns.
func numberAt[T any](name string, width int, little bool, value func(bits uint64) any, _ *T) addition {
	call := func(a ...any) (any, error) {
		at, ok := a[1].(int)
		if !ok {
			return nil, unlike(name, "a whole number behind the payload", a[1])
		}
		var bits uint64
		switch data := a[0].(type) {
		case string:
			bits, ok = bitsAt(data, at, width, little)
		case []byte:
			bits, ok = bitsAt(data, at, width, little)
		default:
			return nil, unlike(name, "the payload, a text or bytes", data)
		}
		if !ok {
			return nil, reason(fmt.Sprintf("%s: there is nothing so long (%d) at that index", name, width))
		}
		return value(bits), nil
	}
	return addition{name, call, once, false, []any{new(func([]byte, int) T), new(func(string, int) T)}}
}

// bitsAt returns a number of so many bytes at an index, which counts from the end if negative.
func bitsAt[D string | []byte](data D, at, width int, little bool) (bits uint64, ok bool) {
	if at < 0 {
		at += len(data)
	}
	if at < 0 || at > len(data)-width {
		return 0, false
	}
	for i := range width {
		next := data[at+i]
		if little {
			next = data[at+width-1-i]
		}
		bits = bits<<8 | uint64(next)
	}
	return bits, true
}
