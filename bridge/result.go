package bridge

// Result returns what a sink that writes in order says of a batch when these messages of it are
// refused, and of the others as many are delivered. Refusals behind the first message that is
// neither do not count, since those messages come again.
func (r Refusals) Result(delivered int) Result {
	settled := delivered
	for i := range r {
		if r[i].Index > settled {
			r = r[:i]
			break
		}
		settled++
	}
	if len(r) == 0 {
		r = nil
	}
	return Result{Settled: settled, Refused: r}
}
