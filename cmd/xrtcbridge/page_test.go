package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/browsertest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// prepare has the page count the events that it gets from the bridge, one a second, and keep what
// it shows of them.
const prepare = `(() => {
	const folds = fold, draws = draw
	let news = false
	window.events = 0
	window.looked = []
	fold = s => { folds(s); events++; news = true }
	draw = () => {
		draws()
		if (!news) return
		news = false
		looked.push({at: Date.parse(view.status.now), delivered: view.status.pipelines[0].ledger.delivered,
			figures: $("figures").innerText})
		if (looked.length > 50) looked.shift()
	}
})()`

// looked is what the page has shown when it had an event.
type looked struct {
	Delivered uint64
	Figures   string
}

// firstSince returns what the page shows of the first event that was made after a time, however
// long that takes to come.
func firstSince(tab *browsertest.Tab, at time.Time) looked {
	later := fmt.Sprintf(`looked.find(e => e.at > %d)`, at.UnixMilli())
	tab.Until(later)
	return browsertest.Eval[looked](tab, later)
}

// TestPageOfARunningBridge does in chromium all that the page can, to a real bridge, and looks at
// what the bridge has done of it.
func TestPageOfARunningBridge(t *testing.T) {
	tab, dir, admin := browsertest.Start(t)(t), t.TempDir(), bridgetest.FreeAddr(t)
	file := func(letters, ticks, more string) {
		t.Helper()
		write(t, dir, "p.yaml", fmt.Sprintf(`
admin: %q
pipelines:
  letters: {from: {file: {path: in, follow: true}}, to: {file: {path: %q}}, on_error: {then: dead_letter}}
  ticks:
    from: {generate: {interval: 10ms, topic: hall, payload: warm}}
    steps: [{set: {header.unit: C}}, {filter: "true"}]
    to: {file: {path: %q}}
%s`, admin, letters, ticks, more))
	}
	write(t, dir, "in", "")
	file("out/{{ payload }}", "ticks", "")
	bridge := start(t, dir, io.Discard, "run", "--log-format", "json", "p.yaml")
	bridge.opened(4)
	confirm := func(button, question string) {
		t.Helper()
		tab.Click(button)
		tab.Until(browsertest.Has("#question", question) + ` && document.querySelector("#dialog").open`)
		tab.Click("#confirm")
		tab.Until(`!document.querySelector("#dialog").open`)
	}
	grows := func(name string) {
		t.Helper()
		had := len(readLines(t, filepath.Join(dir, name)))
		bridgetest.Eventually(t, name+" grows",
			func() bool { return len(readLines(t, filepath.Join(dir, name))) > had })
	}

	// What the status says.
	tab.Go(dashboardLink(t, dir))
	tab.Until(browsertest.Has("#ready", "ready") + " && " + browsertest.Has("#about", "2 pipelines"))
	browsertest.Eval[any](tab, prepare)
	browsertest.Eval[string](tab, `location.hash = "#/letters"`)
	tab.Until(browsertest.Has("#name", "letters"))
	write(t, dir, "in", "a\nb\n../c\n")
	r := &reloading{process: bridge, dir: dir, file: "p.yaml"}
	bridgetest.Eventually(t, "the last line is a dead letter",
		func() bool { return r.status().Pipelines[0].Ledger.DeadLettered == 1 })
	shown := firstSince(tab, time.Now()).Figures
	for _, want := range []string{"Received\n3", "Delivered\n2", "Dead-lettered\n1"} {
		if !strings.Contains(shown, want) {
			t.Errorf("of what has come the next event does not show %q: %q", want, shown)
		}
	}

	// The graph.
	browsertest.Eval[string](tab, `location.hash = "#/ticks"`)
	tab.Until(browsertest.Has("#name", "ticks"))
	tab.Until(`(g => g.querySelectorAll("g.end").length === 4 && g.querySelectorAll("path.flows").length === 3 &&
		["generate", "set", "filter", "file"].every(type => g.textContent.includes(type)))(document.querySelector("#graph"))`)

	// Messages as they pass.
	browsertest.Eval[string](tab, `$("tap").elements.place.value = "step"`)
	tab.Click("#tap button")
	tab.Until(browsertest.Has("#tap [role=status]", "20 seen") + " && " +
		browsertest.Has("#messages", "hall warm → hall warm"))

	// Pause and resume.
	confirm("#pause", "Pause ticks?")
	tab.Until(browsertest.Has("#state", "paused") + " && " + browsertest.Has("#pause", "Resume"))
	if code, out, _ := command(t, dir, "status", "p.yaml"); !strings.Contains(out, "paused") {
		t.Errorf("the page says paused, and status %d, %s", code, out)
	}
	confirm("#pause", "Resume ticks?")
	tab.Until(browsertest.Has("#state", "running"))
	grows("ticks")

	// Reload: nothing has changed, a mistake, what cannot start, and changes, whose difference is shown.
	tab.Click("#reload")
	tab.Until(browsertest.Has("#question", "Nothing has changed."))
	tab.Click("#cancel")
	file("out", "ticks", "  wrong: {from: {generate: {speed: 1}}, to: discard}\n")
	tab.Click("#reload")
	tab.Until(browsertest.Has("#notes", "p.yaml:9"))
	file("out", "ticks", "")
	confirm("#reload", "Reload the configuration?")
	tab.Until(browsertest.Has("#notes", "out: is a directory"))
	grows("ticks")
	file("taken", "ticks", "  more: {from: {generate: {interval: 10ms}}, to: {file: {path: more}}}\n")
	tab.Click("#reload")
	tab.Until(browsertest.Has("#dialog pre", "+ starts more\n") + " && " +
		browsertest.Has("#dialog pre", "~ restarts letters: to changed\n") + " && " +
		browsertest.Has("#dialog pre", "1 untouched"))
	tab.Click("#confirm")
	tab.Until(browsertest.Has("#list", "more") + " && " + browsertest.Has("#about", "3 pipelines"))
	grows("more")

	// Dead letters, which the changed pipeline takes.
	browsertest.Eval[string](tab, `location.hash = "#/letters"`)
	tab.Until(browsertest.Has("#name", "letters"))
	tab.Click("#dead button")
	tab.Until(browsertest.Has("#letters", "../c") + " && " + browsertest.Has("#letters", "letters-to"))
	confirm("#replay", "Replay 1 dead letter of letters?")
	tab.Until(browsertest.Has("#notes", "delivered 1 dead letter, 0 failed again") + " && " +
		browsertest.Has("#dead [role=status]", "none"))
	if d := cmp.Diff([]string{"../c"}, readLines(t, filepath.Join(dir, "taken"))); d != "" {
		t.Error(d)
	}
	bridge.signal(syscall.SIGTERM)
	if code := bridge.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	tab.Until(browsertest.Has("#ready", "no connection"))
}

// TestPageUnderLoad looks at a bridge that moves 20,000 messages a second, for half a minute, or ten
// of them (nightly): the page shows with each event what was delivered by then, its tap and others
// run on, and it does not grow.
func TestPageUnderLoad(t *testing.T) {
	tab, dir, admin := browsertest.Start(t)(t), t.TempDir(), bridgetest.FreeAddr(t)
	write(t, dir, "p.yaml", fmt.Sprintf(`
admin: %q
pipelines:
  load:
    from: {generate: {rate: 20000}}
    steps: [{set: {json.room: hall}}, {filter: json.seq %% 2 == 0}]
    to: discard
`, admin))
	bridge := start(t, dir, io.Discard, "run", "--log-format", "json", "p.yaml")
	bridge.opened(2)
	others := []looker{
		startLooker(t, dir, nil, "tap", "load", "--json", "p.yaml"),
		startLooker(t, dir, nil, "tap", "load/step-2", "--when", "json.seq % 1000 == 0", "p.yaml"),
	}
	tab.Go(dashboardLink(t, dir))
	tab.Until(browsertest.Has("#name", "load"))
	browsertest.Eval[any](tab, prepare)
	browsertest.Eval[string](tab, `$("tap").elements.n.value = ""`) // all that come
	tab.Click("#tap button")
	r := &reloading{process: bridge, dir: dir, file: "p.yaml"}
	const seen = `Number(document.querySelector("#tap [role=status]").innerText.split(" ")[0].replaceAll(",", ""))`
	var heap float64
	var elements int
	var slowest time.Duration
	tapped := make([]int64, len(others)+1)
	const step = 10
	for events := 0; events < faulttest.Pick(30, 600); {
		want, at := r.status().Pipelines[0].Ledger.Delivered, time.Now()
		shown := firstSince(tab, at)
		slowest = max(slowest, time.Since(at))
		figure := browsertest.Eval[string](tab, fmt.Sprintf(`"Delivered\n" + count(%d)`, shown.Delivered))
		if shown.Delivered < want || !strings.Contains(shown.Figures, figure) {
			t.Errorf("after %d events: %d were delivered, and the next event shows %d: %q", events, want, shown.Delivered,
				shown.Figures)
		}
		tab.Until(fmt.Sprintf(`events >= %d`, events+step))
		events = browsertest.Eval[int](tab, `events`)
		for i := range tapped {
			now := func() int64 { return browsertest.Eval[int64](tab, seen) }
			if i < len(others) {
				now = others[i].seen
			}
			bridgetest.Eventually(t, fmt.Sprintf("tap %d goes on", i), func() bool { return now() > tapped[i] })
			tapped[i] = now()
		}
		if heap == 0 {
			tab.Until(`document.querySelectorAll("#messages details").length === 300`)
			heap, elements = tab.Heap(), browsertest.Eval[int](tab, `document.querySelectorAll("*").length`)
		}
	}
	after, elementsAfter := tab.Heap(), browsertest.Eval[int](tab, `document.querySelectorAll("*").length`)
	t.Logf("%.2f MB at first and %.2f MB at last, %d messages tapped, counts shown after %v at most",
		heap/1e6, after/1e6, tapped[len(others)], slowest.Round(time.Millisecond))
	if after > heap*1.2+1e6 {
		t.Errorf("the heap has grown from %.0f to %.0f bytes", heap, after)
	}
	if elementsAfter > elements+200 {
		t.Errorf("the document has grown from %d to %d elements", elements, elementsAfter)
	}
	if faulttest.Nightly && slowest > 2*time.Second {
		t.Errorf("what was delivered is on the page %v later", slowest)
	}
	for _, o := range others {
		o.stop()
	}
}
