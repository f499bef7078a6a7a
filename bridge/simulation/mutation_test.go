package simulation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutations are faults to plant in the engine: a text in one of its files, which must be there
// once, and what stands there instead.
var mutations = []struct{ name, file, text, instead string }{
	{"acknowledges what a step holds", "flight.go", "f.freed = r.root.freeUpTo(f.number)", "r.root.freeUpTo(f.number)"},
	{"a mark one too high", "stage.go", "return min(t, oldest-1)", "return min(t, oldest)"},
	{"a step forgets that another one behind it holds", "node.go", "free = s.freeUpTo(free)", "free = min(s.freeUpTo(t), free)"},
	{"acknowledges before it is delivered", "debt.go", "verdict := err\n", "verdict := error(nil)\n"},
	{"acknowledges what is behind something refused", "debt.go", "if d.from != nil && d.from.refused && verdict == nil {", "if false {"},
	{"a failure gives back only what is free", "debt.go", "upTo = f.number // something", "_ = f.number // something"},
	{"settles in the order of delivery", "flight.go", "r.settle(r.work, f, <-f.done)", "go func() { r.settle(r.work, f, <-f.done) }()"},
	{"takes a result for one more than it says", "output.go", "	if len(result.Refused) == 0 {\n		o.pass(result.Settled)\n", "	if len(result.Refused) == 0 {\n		o.pass(result.Settled)\n		if result.Settled < size {\n			w.done++\n		}\n"},
	{"writes again what is settled", "output.go", "	w.done += result.Settled\n	return result.Settled, err\n}\n\n// giveUp", "	w.done += result.Settled - min(1, len(b)-1)\n	return result.Settled, err\n}\n\n// giveUp"},
	{"mixes up the refused one and its neighbour", "output.go", "w.set(w.done+r.index, out)", "w.set(max(0, w.done+r.index-1), out)"},
	{"a lane too few", "split.go", "k, err := hash(n.order, &b[i], len(n.lanes))", "k, err := hash(n.order, &b[i], len(n.lanes)); k = (k + i) % len(n.lanes)"},
	{"gives turns to whoever came last", "queue.go", "q.waiting = append(q.waiting, t)", "q.waiting = append([]*ticket{t}, q.waiting...)"},
	{"gives a message to the last branch only", "split.go", "if c != nowhere && counts[c] < len(b) {\n			parts[c]", "if c != nowhere && counts[c] < len(b) && i > 0 {\n			parts[c]"},
	{"the least of several outcomes counts", "flight.go", "f.outcomes[unit] = max(f.outcomes[unit], out)", "f.outcomes[unit] = max(min(f.outcomes[unit], delivered), out)"},
	{"forgets who is left when a branch is down", "any.go", "case s.down[i] || s.err != nil:", "case s.err != nil:"},
	{"takes what is pending for taken", "any.go", "if s.out[i] >= refused {", "if s.out[i] == refused {"},
	{"blames whoever wrote beside it", "output.go", "if own && !o.share.shares(t) && settled < size", "if settled < size"},
	{"works in place where two look", "router.go", "if len(n.children) > 1 && c.changes() {", "if false {"},
	{"does not flush", "flight.go", "case len(r.stages) == 0 || !r.holding:\n			return nil", "case true:\n			return nil"},
	{"closes a source with batches out", "input.go", "	in.over()\n	rd.owed.Wait()\n", "	in.over()\n"},
	{"counts what is given back twice", "ledger.go", "c.received.Add(-received)", "c.received.Add(-2 * received)"},
	{"counts merged what is lost", "debt.go", "d.held += t[held]", "d.held += t[held] + t[filtered]"},
	{"a second copy of a message is not counted", "router.go", "		f.debt.add(&r.counters, o.made)", "		f.debt.add(&r.counters, o.made-1)"},
}

var ran = regexp.MustCompile(`\d+ schedules`)

// TestMutations builds the engine with one fault after the other, and runs schedules until it is
// found.
func TestMutations(t *testing.T) {
	if !mutate || testing.Short() {
		t.Skip("it builds the engine two dozen times, for which neither -race nor -short is")
	}
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("..", m.file))
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.text); n != 1 {
				t.Fatalf("%s has the text %d times, want once: adapt the mutation\n%s", m.file, n, m.text)
			}
			dir := t.TempDir()
			mutant, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
			write(t, mutant, []byte(strings.Replace(string(text), m.text, m.instead, 1)))
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: mutant}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, overlay, replace)
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet", "off", "-timeout", "120s", "-run", "^TestSchedules$", ".")
			cmd.Env = append(os.Environ(), "XRTCBRIDGE_SCHEDULES=30000", "XRTCBRIDGE_SHRINK=0")
			out, err := cmd.CombinedOutput()
			switch {
			case strings.Contains(string(out), "build failed"):
				t.Fatalf("the mutation does not build:\n%s", out)
			case err == nil:
				t.Errorf("nothing was noticed:\n%s", out)
			default:
				t.Logf("noticed after %s", ran.Find(out))
			}
		})
	}
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
