package page_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin/page"
	"github.com/xrtcbridge/xrtcbridge/bridge/browsertest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// What the page does, each in a tab of its own of one browser.
func TestPage(t *testing.T) {
	open := browsertest.Start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *browsertest.Tab)
	}{
		{"Looks", looks},
		{"ShowsTraffic", showsTraffic},
		{"KeepsTextAsText", keepsTextAsText},
		{"Keys", keys},
		{"Messages", messages},
		{"HidesWhatIsNotThere", hidesWhatIsNotThere},
		{"SignsIn", signsIn},
		{"ManyPipelines", manyPipelines},
		{"Reconnects", reconnects},
		{"Memory", memory},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// What has flowed is on the page with the next event, of which there is one a second.
func showsTraffic(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	tab.Go(f.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	began := time.Now()
	f.set(func(s *monitor.Status) {
		traffic(s, 1)
		s.Pipelines[0].Ledger.Received, s.Pipelines[0].Owed = 9_876_543, 77
		s.Pipelines[0].Ends[0].Messages = 1_234_567
	})
	tab.Until(browsertest.Has("#figures", "9,876,543") + " && " + browsertest.Has("#list tr.open", "77") + " && " +
		`document.querySelector("#graph").textContent.includes("1,234,567") && ` + browsertest.Has("#ends", "1,234,567"))
	t.Logf("it took %v", time.Since(began).Round(time.Millisecond))
	if browsertest.Eval[bool](tab, `document.querySelector("#progress").offsetHeight > 0`) {
		t.Error("an input without an end shows progress")
	}
	left := 80.0
	f.set(func(s *monitor.Status) {
		s.Pipelines[0].Progress = &monitor.Progress{Done: 256 << 10, Total: 1 << 20, Left: &left}
	})
	tab.Until(browsertest.Has("#progress", "25 %, 256 KiB of 1.0 MiB read, 1 m 20 s left") + " && " +
		`document.querySelector("#list tr.open").title.includes("25 %, 256 KiB")`)
	// All is done when nothing is owed.
	f.set(func(s *monitor.Status) { s.Pipelines[0].Progress.Done = 1 << 20 })
	tab.Until(browsertest.Has("#progress", "99 %, 1.0 MiB of 1.0 MiB read, 77 to be delivered yet") +
		` && document.querySelector("#progress progress").value === 0.99`)
	tab.Until(`[...document.querySelectorAll("#list tr")].some(r => /tries again in 1 h|tries again in 59 m/.test(r.title))`)
	// What gets its messages from several gets the sum.
	if got := browsertest.Eval[string](tab,
		`[...document.querySelectorAll("#graph .rate")].map(e => e.textContent).sort().join(" ")`); got != "0/s 1,830/s 1,980/s 2,012/s 2,140/s 310/s 32/s" {
		t.Errorf("rates on the arrows: %s", got)
	}
	// The quantiles are those of what /metrics has counted between two times.
	text := func(n int) string {
		return fmt.Sprintf("# TYPE x histogram\nxrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"0.01\"} %d\n"+
			"xrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"0.1\"} %d\n"+
			"xrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"+Inf\"} %d\n", 50+n/2, 50+n, 60+n)
	}
	got := browsertest.Eval[[]float64](tab,
		fmt.Sprintf(`foldMetrics(%q), foldMetrics(%q), [view.buckets.get('a"b').p50, view.buckets.get('a"b').p99]`,
			text(0), text(200)))
	if len(got) != 2 || got[0] != 0.01 || got[1] < 0.098 || got[1] > 0.0983 {
		t.Errorf("quantiles %v, want 10 ms and 98.2 ms", got)
	}
}

// What messages, names and errors say stays text, wherever it is shown.
func keepsTextAsText(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, attacked(), "")
	m := map[string]any{"topic": attack, "payload": attack, "header": map[string]string{attack: attack}}
	line, err := json.Marshal(map[string]any{
		"number": 1, "topic": attack, "payload": attack, "instance": attack, "reason": attack, "last": time.Now(),
		"at": time.Now(), "place": attack, "outcome": attack, "message": m, "after": []any{m},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.dead = []string{string(line)}
	f.tapped <- string(line)
	tab.Go(f.URL)
	tab.Until(browsertest.Has("#name", attack))
	tab.Click("#tap button")
	tab.Click("#dead button")
	for _, where := range []string{
		"#notes", "#about", "#list", "#state", "#reason", "#figures", "#errors",
		"#ends", "#messages", "#letters",
	} {
		tab.Until(browsertest.Has(where, "<img src=x"))
	}
	tab.Click("#messages summary")
	tab.Click("#letters summary")
	tab.Until(browsertest.Has("#messages pre", "<img src=x") + " && " + browsertest.Has("#letters pre", "<img src=x"))
	tab.Click("#restart")
	tab.Until(browsertest.Has("#question", attack))
	tab.Press(kb.Escape)
	tab.Click("#reload")
	tab.Until(browsertest.Has("#dialog pre", "+ starts new"+attack))
	if got := browsertest.Eval[string](tab,
		`[...document.querySelectorAll("img, script, iframe, object, base, style, [style]:not(.uplot *, .uplot), [onerror]")].map(e => e.outerHTML).join("\n")`); strings.Count(got,
		"<script") != 2 || strings.Contains(got, "attacked") || strings.Contains(got, "<img") {
		t.Errorf("the document has %s", got)
	}
}

// All can be done by keyboard, and what changes anything is asked first and is a POST.
func keys(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	tab.Go(f.URL)
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 8`)
	focus := func(want string) { t.Helper(); tab.Until(fmt.Sprintf(`document.activeElement.matches(%q)`, want)) }
	asked := func(want string) {
		t.Helper()
		if got := f.asked(t); got != want {
			t.Errorf("the bridge was asked %q, want %q", got, want)
		}
	}
	// The event that tells that a question was closed may come when the next one is open already.
	if got := browsertest.Eval[string](tab, `Promise.all([["a", ""], ["b", "yes"]].map(([question, answer]) => {
		const asked = ask(question, [], "Do it"); $("dialog").close(answer); return asked })).then(String)`); got != "false,true" {
		t.Errorf("no and yes are taken for %s", got)
	}
	tab.Press("/")
	focus("#filter")
	tab.Press("paused jp")
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 0 && document.querySelector("#none").offsetHeight > 0`)
	tab.Press(kb.Escape)
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 8 && document.activeElement === document.body`)
	tab.Press("/")
	focus("#filter")
	tab.Press("paused")
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 1`)
	tab.Press(kb.Escape)
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 8`)
	tab.Press("j")
	focus(`[href="#/archive"]`)
	tab.Press("k")
	focus(`[href="#/orders-to-warehouse"]`)
	tab.Press(kb.Enter)
	tab.Until(browsertest.Has("#name", "orders-to-warehouse"))
	tab.Press("r")
	tab.Until(browsertest.Has("#question", "Restart orders-to-warehouse?"))
	tab.Press(kb.Escape)
	tab.Until(`!document.querySelector("#dialog").open`)
	tab.Press("r")
	tab.Until(browsertest.Has("#question", "Restart orders-to-warehouse?"))
	tab.Press(kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/restart application/json {}")
	tab.Until(browsertest.Has("#notes", "Restart orders-to-warehouse: not drained"))
	tab.Press("p")
	tab.Until(browsertest.Has("#question", "Pause orders-to-warehouse?"))
	tab.Press(kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/pause application/json {}")
	tab.Until(browsertest.Has("#notes", "Pause orders-to-warehouse: not drained"))
	f.set(func(s *monitor.Status) { s.Pipelines[1].State = monitor.Paused })
	tab.Until(browsertest.Has("#pause", "Resume"))
	tab.Press("p")
	tab.Until(browsertest.Has("#question", "Resume orders-to-warehouse?"))
	tab.Press(kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/resume application/json {}")
	tab.Until(browsertest.Has("#notes", "Resume orders-to-warehouse: not drained"))
	tab.Press("R")
	tab.Until(browsertest.Has("#dialog", "~ restarts sensors: steps, to changed") + " && " +
		browsertest.Has("#dialog", "2 untouched\n! old leaves"))
	tab.Press(kb.Enter)
	asked("POST /reload application/json {}")
	tab.Until(browsertest.Has("#notes", "· Reload")) // else the answer may replace what is told next
	// What is canceled tells nothing, and what was told while it was asked stays.
	tab.Press("R")
	tab.Until(browsertest.Has("#question", "Reload the configuration?") + ` && document.querySelector("#dialog").open`)
	if got := browsertest.Eval[string](tab, `note("told since"), new Promise(done => {
		$("dialog").addEventListener("close", () => setTimeout(() => done($("notes").innerText)), {once: true})
		$("dialog").close("")
	})`); !strings.Contains(got, "told since") {
		t.Errorf("after a reload that was canceled, the notes are %q", got)
	}
	tab.Press("?")
	tab.Until(browsertest.Has("#dialog", "pause or resume"))
	tab.Press(kb.Escape)
	tab.Until(`!document.querySelector("#dialog").open`)
	tab.Press("t")
	focus("#tap [name=when]")
	select {
	case more := <-f.actions:
		t.Errorf("the bridge was asked %q, too", more)
	default:
	}
}

// Messages are shown as they pass, and dead letters with a replay of those that are shown.
func messages(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	tab.Go(f.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	tab.Do(chromedp.SendKeys(chromedp.CSS("#tap [name=when]"), "broken"+kb.Enter))
	tab.Until(browsertest.Has("#tap [role=status]", "when: unknown name broken"))
	browsertest.Eval[string](tab, `document.querySelector("#tap [name=when]").value = ""`)
	tab.Click("#tap button")
	tab.Until(browsertest.Has("#tap button", "Stop"))
	for n := range 500 {
		f.tapped <- fmt.Sprintf(
			`{"at":"2026-11-28T12:00:00Z","place":"to","outcome":"delivered","message":{"topic":"hall/%d","payload":"21.5"},"after":[{"payload":"21.6"}]}`, n)
	}
	f.tapped <- `{"missed":42}`
	f.tapped <- `{}`
	tab.Until(browsertest.Has("#tap [role=status]", "500 seen, 42 missed") + " && " +
		browsertest.Has("#messages summary", "hall/499 21.5 → 21.6"))
	if got := browsertest.Eval[int](tab, `document.querySelectorAll("#messages details").length`); got != 300 {
		t.Errorf("%d messages are kept, want 300", got)
	}
	tab.Click("#tap button")
	tab.Until(browsertest.Has("#tap [role=status]", "500 seen, 42 missed, stopped") + " && " +
		browsertest.Has("#tap button", "Look"))

	for n := range 3 {
		f.dead = append(f.dead, fmt.Sprintf(
			`{"number":%d,"reason":"too large %d","instance":"sensors-to-jetstream-to","last":"2026-11-28T12:00:00Z","topic":"hall","payload":"x"}`,
			n+7, n))
	}
	tab.Do(chromedp.SendKeys(chromedp.CSS("#dead [name=filter]"), "LARGE 2"+kb.Enter))
	tab.Until(browsertest.Has("#letters", "too large 2"))
	if got := browsertest.Eval[int](tab, `document.querySelectorAll("#letters details").length`); got != 1 {
		t.Errorf("%d letters are shown, want the one of the filter", got)
	}
	tab.Click("#replay")
	tab.Until(browsertest.Has("#question", "Replay 1 dead letter of sensors-to-jetstream?"))
	tab.Press(kb.Enter)
	if got, want := f.asked(t),
		`POST /dead/replay application/json {"pipeline":"sensors-to-jetstream","numbers":[9]}`; got != want {
		t.Errorf("the bridge was asked %q, want %q", got, want)
	}
}

// What the server does not have is not shown.
func hidesWhatIsNotThere(t *testing.T, tab *browsertest.Tab) {
	mux := http.NewServeMux()
	mux.Handle("/", page.New(page.Config{Status: some, Offers: func(string, string) bool { return false }}))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	tab.Go(server.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	if got := browsertest.Eval[string](tab,
		`[...document.querySelectorAll("[data-needs]")].filter(e => e.offsetHeight).map(e => e.dataset.needs).join()`); got != "" {
		t.Errorf("shown are %s", got)
	}
	tab.Press("pR?")
	tab.Until(browsertest.Has("#dialog", "filter the list"))
	if browsertest.Eval[bool](tab, browsertest.Has("#dialog", "pause")) {
		t.Error("the keys name what is not there")
	}
}

// A token is asked for where the server wants one, again if it is wrong, and kept for the tab.
func signsIn(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "s3cret")
	tab.Go(f.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#question", "Sign in"))
	if got := browsertest.Eval[string](tab, `document.documentElement.outerHTML`); strings.Contains(got, "jetstream") {
		t.Errorf("a stranger sees %s", got)
	}
	tab.Do(chromedp.SendKeys(chromedp.CSS("#answer input"), "wrong"+kb.Enter))
	tab.Until(`document.querySelector("#answer input").value === "" && document.querySelector("#dialog").open`)
	tab.Do(chromedp.SendKeys(chromedp.CSS("#answer input"), "s3cret"+kb.Enter))
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	tab.Do(chromedp.Reload())
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
}

// 200 pipelines are a list that can be filtered, with the graph of the one that is open.
func manyPipelines(t *testing.T, tab *browsertest.Tab) {
	s := some()
	for n := len(s.Pipelines); n < 200; n++ {
		p := s.Pipelines[n%5]
		p.Name = fmt.Sprintf("plant-%d", n)
		s.Pipelines = append(s.Pipelines, p)
	}
	f := newFake(t, s, "")
	tab.Go(f.URL + "/#/plant-150")
	tab.Until(browsertest.Has("#name", "plant-150") + ` && document.querySelectorAll("#list tbody tr").length === 200`)
	tab.Shoot("many")
	tab.Do(chromedp.SendKeys(chromedp.CSS("#filter"), "Plant-19 running"))
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 5`) // 19, 190, 194, 195 and 199
	f.set(func(s *monitor.Status) { s.Pipelines = append(s.Pipelines[:10:10], s.Pipelines[195:]...) })
	tab.Until(`document.querySelectorAll("#list tbody tr").length === 2 && document.querySelector("#detail").hidden && view.history.size === 15`)
}

// A connection that is lost is said, and made again.
func reconnects(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	tab.Go(f.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	f.set(func(s *monitor.Status) { s.Pipelines[0].Owed = 123 })
	browsertest.Eval[bool](tab, `window.lost = false; new MutationObserver(() => { lost ||= document.querySelector("#notes").innerText.includes("No connection") }).observe(document.querySelector("#notes"), {childList: true}); true`)
	f.CloseClientConnections()
	tab.Until(`lost`)
	tab.Until(browsertest.Has("#list", "123") + ` && !` + browsertest.Has("#notes", "No connection"))
}

// Half an hour of events, as fast as they can be drawn, leaves the page's memory as it was once its
// plots were full.
func memory(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	tab.Go(f.URL + "/#/sensors-to-jetstream")
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	tab.Click("#tap button")
	browsertest.Eval[bool](tab, `window.base = view.status, true`)
	at := time.Now()
	run := func(events int) (bytes float64, elements int) {
		for done := 0; done < events; done += 100 {
			browsertest.Eval[bool](tab, fmt.Sprintf(`(() => { for (let i = %d; i < %d; i++) {
				const s = structuredClone(base), p = s.pipelines[0]
				s.now = new Date(%d + i * 1000).toISOString()
				p.ledger.received += 2000 + i; p.ledger.delivered += 2000; p.in.messages_10s = 2000 + i %% 70; p.owed = i
				p.errors = [{at: s.now, instance: "to", text: "error " + i, n: i}]
				for (const e of p.ends) { e.messages += i; e.state = i %% 11 ? "up" : "down" }
				if (i %% 40 === 0) p.ends = p.ends.slice(0, 2 + i / 40 %% 5)
				s.pipelines.push({...p, name: "passing-" + i})
				fold(s); draw() } return true })()`, done, done+100, at.UnixMilli()))
			for n := range 50 {
				f.tapped <- fmt.Sprintf(
					`{"at":"2026-11-28T12:00:00Z","place":"to","outcome":"delivered","message":{"topic":"a/%d","payload":%q}}`,
					n, strings.Repeat("x", 500))
			}
		}
		at = at.Add(time.Duration(events) * time.Second)
		tab.Until(`document.querySelectorAll("#messages details").length === 300`)
		return tab.Heap(), browsertest.Eval[int](tab, `document.querySelectorAll("*").length`)
	}
	full, elements := run(700)
	after, elementsAfter := run(1100)
	t.Logf("%.1f MB after 700 events, %.1f MB after 1,800", full/1e6, after/1e6)
	if after > full*1.2+1e6 {
		t.Errorf("the heap has grown from %.0f to %.0f bytes", full, after)
	}
	if elementsAfter > elements+200 {
		t.Errorf("the document has grown from %d to %d elements", elements, elementsAfter)
	}
}
