package expr

import (
	"math"
	"time"
)

func timeAdditions() []addition {
	ofTime := []any{new(func(time.Time) int)}
	ofNumber := []any{new(func(any) time.Time)}
	return []addition{
		{"unix", ofTimeValue("unix", time.Time.Unix), once, false, ofTime},
		{"unixMilli", ofTimeValue("unixMilli", time.Time.UnixMilli), once, false, ofTime},
		{"fromUnix", fromUnix("fromUnix", 1), once, false, ofNumber},
		{"fromUnixMilli", fromUnix("fromUnixMilli", 1000), once, false, ofNumber},
		{"parseTime", nil, texts, false, []any{
			new(func(string) time.Time), new(func(string, string) time.Time), new(func(string, string, string) time.Time),
		}},
		{"format", nil, times(4, once), false, []any{
			new(func(time.Time, string) string),
			new(func(time.Time, string, string) string),
		}},
	}
}

func ofTimeValue(name string, f func(time.Time) int64) function {
	return func(a ...any) (any, error) {
		t, ok := a[0].(time.Time)
		if !ok {
			return nil, unlike(name, "a time", a[0])
		}
		return int(f(t)), nil
	}
}

// What RFC 3339 can write, in seconds.
const firstSecond, lastSecond = -62_135_596_800, 253_402_300_799

// fromUnix makes a function of a number of seconds since 1970, or of parts of them.
func fromUnix(name string, perSecond int64) function {
	return func(a ...any) (any, error) {
		x, whole, ok := toFloat(a[0])
		switch {
		case !ok:
			return nil, unlike(name, "a number", a[0])
		case !(x >= firstSecond*float64(perSecond) && x <= lastSecond*float64(perSecond)):
			return nil, reason(name + ": the time is before year 1 or after year 9999")
		case whole:
			n := int64(x) // exact, since it is below 2⁵³
			return time.Unix(n/perSecond, n%perSecond*int64(time.Second)/perSecond).UTC(), nil
		}
		seconds, part := math.Modf(x / float64(perSecond))
		// A float64 has no more than microseconds of today.
		return time.Unix(int64(seconds), int64(math.Round(part*1e6))*int64(time.Microsecond)).UTC(), nil
	}
}

// layout is how a time is written, and where.
type layout struct {
	text string
	zone *time.Location
}

func (l layout) parse(a ...any) (any, error) {
	text, ok := a[0].(string)
	if !ok {
		return nil, unlike("parseTime", "a text", a[0])
	}
	t, err := time.ParseInLocation(l.text, text, l.zone)
	if err != nil {
		return nil, reason("the text is not a time of that layout")
	}
	return t, nil
}

// format writes the time as it is in its own zone if none was asked for.
func (l layout) format(inZone bool) function {
	return func(a ...any) (any, error) {
		t, ok := a[0].(time.Time)
		if !ok {
			return nil, unlike("format", "a time", a[0])
		}
		if inZone {
			t = t.In(l.zone)
		}
		return t.Format(l.text), nil
	}
}
