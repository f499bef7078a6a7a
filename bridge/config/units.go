package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseDuration parses a duration as files have it: what [time.ParseDuration] does, with weeks and
// days in front if wanted, as in 1.5s, 2h30m, 7d, 1w2d12h. It must not be negative. The error says
// what to write.
func ParseDuration(text string) (time.Duration, error) {
	d, ok := parseDuration(text)
	if !ok {
		return 0, errors.New("not a duration like 10s; " + durationHint(text))
	}
	return d, nil
}

var longUnit = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([wd])`)

func parseDuration(text string) (time.Duration, bool) {
	whole := 0.0
	for m := longUnit.FindStringSubmatch(text); m != nil; m = longUnit.FindStringSubmatch(text) {
		n, _ := strconv.ParseFloat(m[1], 64)
		if n *= float64(24 * time.Hour); m[2] == "w" {
			n *= 7
		}
		if whole += n; whole > math.MaxInt64/2 {
			return 0, false
		}
		if text = text[len(m[0]):]; text == "" {
			return time.Duration(whole), true
		}
	}
	d, err := time.ParseDuration(text)
	return time.Duration(whole) + d, err == nil && d >= 0 && time.Duration(whole)+d >= 0
}

// people are units as people write them.
var people = strings.NewReplacer(" ", "", ",", "", "and", "", "milliseconds", "ms", "millisecond", "ms", "msec", "ms",
	"seconds", "s", "second", "s", "secs", "s", "sec", "s", "minutes", "m", "minute", "m", "mins", "m", "min", "m",
	"hours", "h", "hour", "h", "hrs", "h", "hr", "h", "days", "d", "day", "d", "weeks", "w", "week", "w")

func durationHint(text string) string {
	if wholeNumber.MatchString(text) {
		return "add a unit: ms, s, m, h, d or w"
	}
	if plain := people.Replace(strings.ToLower(text)); plain != text {
		if _, ok := parseDuration(plain); ok {
			return "write " + plain
		}
	}
	return "units are ms, s, m, h, d and w"
}

var shortSize = regexp.MustCompile(`^([0-9.]+) *([kKmMgGtT])(i?)$`)

func sizeHint(text string) string {
	m := shortSize.FindStringSubmatch(text)
	if m == nil {
		return "units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB"
	}
	unit := strings.ToUpper(m[2])
	binary := m[1] + unit + "iB"
	if m[3] != "" {
		return "write " + binary
	}
	return "write " + m[1] + strings.Replace(unit, "K", "k", 1) + "B, or " + binary + " for powers of 1024"
}

var roundNumber = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kKM]?)$`)

// numberHint returns how to write a number that has separators or a unit, or else otherwise.
func numberHint(text, otherwise string) string {
	m := roundNumber.FindStringSubmatch(strings.NewReplacer("_", "", " ", "", "'", "").Replace(text))
	if m == nil || strings.HasPrefix(m[1], "0") {
		return otherwise
	}
	x, err := strconv.ParseFloat(m[1], 64)
	switch m[2] {
	case "k", "K":
		x *= 1e3
	case "M":
		x *= 1e6
	}
	if err != nil || x != math.Trunc(x) || x >= 1<<53 {
		return otherwise
	}
	return fmt.Sprintf("write %.0f", x)
}
