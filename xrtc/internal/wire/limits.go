package wire

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Headers of our own. Servers and clients that do not know them pass over them.
const (
	LimitsHeader = "Xrtc-Limits" // of the answer to a login
	PreferHeader = "Prefer"      // of a get
	PreferMissed = "xrtc-missed" // value: report items that were missed
)

// The names in [LimitsHeader]. Times are in milliseconds.
const (
	LimitPayloadSize       = "payload-size-max"
	LimitRequestsPerSecond = "requests-per-second"
	LimitPortals           = "portals-count-max"
	LimitItemAge           = "item-age-max"
	LimitGetTimeout        = "get-item-timeout"
	LimitLoginTimeout      = "login-timeout"
)

// FormatLimits writes limits the way of [LimitsHeader]: name=number, separated by commas.
func FormatLimits(limits map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		all = append(all, fmt.Sprintf("%s=%d", name, limits[name]))
	}
	return strings.Join(all, ", ")
}

// ParseLimits reads what [FormatLimits] wrote. What is no name with a number is passed over.
func ParseLimits(text string) map[string]int64 {
	limits := make(map[string]int64)
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 && name != "" {
			limits[name] = n
		}
	}
	return limits
}
