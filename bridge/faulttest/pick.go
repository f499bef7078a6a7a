package faulttest

// Pick returns the first of two sizes of a test, or the second in a binary built with the tag nightly.
func Pick[T any](daily, nightly T) T {
	if Nightly {
		return nightly
	}
	return daily
}
