package bridge

import "fmt"

// Plural returns a number with its noun, for people: 1 message, 2 messages.
func Plural[N int | int64 | uint64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}
