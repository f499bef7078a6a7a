//go:build mutations

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
	{
		"a mark one too high", "stage.go", "return min(t, s.marks[0].free)",
		"return min(t, max(s.marks[0].free, s.marks[0].free+1))",
	},
	{
		"a step forgets that another one behind it holds", "node.go", "free = s.freeUpTo(free)",
		"free = min(s.freeUpTo(t), free)",
	},
	{"acknowledges before it is delivered", "settle.go", "verdict := err\n", "verdict := error(nil)\n"},
	{
		"acknowledges what is behind something refused", "settle.go",
		"if f.from != nil && f.from.refused && verdict == nil {", "if false {",
	},
	{"a failure gives back only what is free", "settle.go", "upTo = f.number // something", "_ = f.number // something"},
	{
		"settles in the order of delivery", "flight.go", "r.settle(r.work, f, <-f.done)",
		"go func() { r.settle(r.work, f, <-f.done) }()",
	},
	{
		"takes a result for one more than it says", "output.go",
		"	if len(result.Refused) == 0 {\n		o.pass(result.Settled)\n",
		"	if len(result.Refused) == 0 {\n		o.pass(result.Settled)\n" +
			"		if result.Settled < size {\n			w.done++\n		}\n",
	},
	{"writes again what is settled", "output.go", "	w.done += result.Settled\n	return result.Settled, err\n}\n\n" +
		"// giveUp", "	w.done += result.Settled - min(1, len(b)-1)\n	return result.Settled, err\n}\n\n// giveUp"},
	{
		"mixes up the refused one and its neighbour", "output.go", "w.set(w.done+r.index, out)",
		"w.set(max(0, w.done+r.index-1), out)",
	},
	{
		"a lane too few", "router.go", "return hash(\"order_by\", n.order, &b[i], len(n.lanes))",
		"k, err := hash(\"order_by\", n.order, &b[i], len(n.lanes)); return (k + i) % len(n.lanes), err",
	},
	{
		"gives turns to whoever came last", "queue.go", "q.waiting = append(q.waiting, t)",
		"q.waiting = append([]*ticket{t}, q.waiting...)",
	},
	{
		"gives a message to the last branch only", "split.go", "if k != nowhere {\n			parts[k]",
		"if k != nowhere && i > 0 {\n			parts[k]",
	},
	{
		"the least of several outcomes counts", "flight.go", "f.outcomes[unit] = max(f.outcomes[unit], out)",
		"f.outcomes[unit] = max(min(f.outcomes[unit], delivered), out)",
	},
	{
		"forgets who is left when a branch is down", "any.go", "s.out[i] = max(s.out[i], out)",
		"s.out[i] = max(s.out[i], out%pending)",
	},
	{"takes what is pending for taken", "any.go", "if k++; out < refused {", "if k++; out != refused {"},
	{"blames whoever wrote beside it", "output.go", "if own && !o.share.shares(t) && settled < size", "if settled < size"},
	{"works in place where two look", "router.go", "if len(n.children) > 1 && c.changes() {", "if false {"},
	{
		"does not flush", "flight.go", "case len(r.stages) == 0 || !r.holding:\n			return nil",
		"case true:\n			return nil",
	},
	{
		"settles one too many at the front", "settle.go", "	return n\n}\n\n// giveBack",
		"	return min(n+1, f.received)\n}\n\n// giveBack",
	},
	{
		"settles a front behind what comes again", "settle.go", "			f.front = 0 // it stands behind",
		"			_ = 0 // it stands behind",
	},
	{"settles at the front what is lost", "flight.go", "f.kept = 0 // nor", "_ = 0 // nor"},
	{
		"blames a message for what a step has held", "stage.go", "	if !s.holds() {\n		return true\n	}\n",
		"	if call > 0 {\n		return true\n	}\n",
	},
	{
		"refuses the neighbour", "router.go", "r.refuse(s.place, 1, []refusal{{0, &m, *f}}, one)",
		"r.refuse(s.place, 1, []refusal{{0, &b[(i+1)%len(b)], *f}}, []int32{unit(units, (i+1)%len(b))})",
	},
	{
		"takes messages of one source for one", "suspect.go", "fmt.Sprint(m.Header), string(m.Payload)}",
		"fmt.Sprint(m.Header), m.Topic[:1]}\n	who.id, who.topic = \"\", \"\"",
	},
	{
		"condemns at the first failure", "router.go", "if tries > 0 && f.attempts >= tries {",
		"if tries > 0 && f.attempts > 0 {",
	},
	{
		"a panic of a step stops the pipeline", "stage.go", "	err = guard(s.env.Logger, false, func",
		"	err = guard(s.env.Logger, true, func",
	},
	{"closes a source with batches out", "input.go", "	in.over()\n	rd.owed.Wait()\n", "	in.over()\n"},
	{"counts what is given back twice", "ledger.go", "c.received.Add(-received)", "c.received.Add(-2 * received)"},
	{
		"counts merged what is lost", "settle.go", "f.held, f.left, t[held] = t[held],",
		"f.held, f.left, t[held] = t[held]+t[filtered],",
	},
	{
		"a second copy of a message is not counted", "router.go", "			r.counters.make(made)",
		"			r.counters.make(made - 1)",
	},
}

var ran = regexp.MustCompile(`\d+ schedules`)

// TestMutations builds the engine with one fault after the other, and runs schedules until it is
// found. It has a tag of its own, since that takes minutes.
func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("..", "engine", m.file))
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
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet", "off", "-timeout",
				"120s", "-run", "^TestSchedules$", ".")
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
