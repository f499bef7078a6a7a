package page_test

import (
	"context"
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
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// What the page does, each in a tab of its own of one browser.
func TestPage(t *testing.T) {
	tab := browser(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, context.Context)
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
		t.Run(c.name, func(t *testing.T) { c.test(t, tab(t)) })
	}
}

// What has flowed is on the page with the next event, of which there is one a second.
func showsTraffic(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	began := time.Now()
	f.set(func(s *monitor.Status) {
		traffic(s, 1)
		s.Pipelines[0].Ledger.Received, s.Pipelines[0].Owed = 9_876_543, 77
		s.Pipelines[0].Ends[0].Messages = 1_234_567
	})
	until(t, ctx, has("#figures", "9,876,543")+" && "+has("#list tr.open", "77")+" && "+
		`document.querySelector("#graph").textContent.includes("1,234,567") && `+has("#ends", "1,234,567"))
	t.Logf("it took %v", time.Since(began).Round(time.Millisecond))
	// What gets its messages from several gets the sum.
	if got := eval[string](t, ctx,
		`[...document.querySelectorAll("#graph .rate")].map(e => e.textContent).sort().join(" ")`); got != "0/s 1,830/s 1,980/s 2,012/s 2,140/s 310/s 32/s" {
		t.Errorf("rates on the arrows: %s", got)
	}
	// The quantiles are those of what /metrics has counted between two times.
	text := func(n int) string {
		return fmt.Sprintf("# TYPE x histogram\nxrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"0.01\"} %d\n"+
			"xrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"0.1\"} %d\n"+
			"xrtcbridge_delivery_seconds_bucket{pipeline=\"a\\\"b\",le=\"+Inf\"} %d\n", 50+n/2, 50+n, 60+n)
	}
	got := eval[[]float64](t, ctx,
		fmt.Sprintf(`foldMetrics(%q), foldMetrics(%q), [view.buckets.get('a"b').p50, view.buckets.get('a"b').p99]`,
			text(0), text(200)))
	if len(got) != 2 || got[0] != 0.01 || got[1] < 0.098 || got[1] > 0.0983 {
		t.Errorf("quantiles %v, want 10 ms and 98.2 ms", got)
	}
}

// What messages, names and errors say stays text, wherever it is shown.
func keepsTextAsText(t *testing.T, ctx context.Context) {
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
	do(t, ctx, chromedp.Navigate(f.URL))
	until(t, ctx, has("#name", attack))
	click(t, ctx, "#tap button")
	click(t, ctx, "#dead button")
	for _, where := range []string{"#notes", "#about", "#list", "#state", "#reason", "#figures", "#errors",
		"#ends", "#messages", "#letters"} {
		until(t, ctx, has(where, "<img src=x"))
	}
	click(t, ctx, "#messages summary")
	click(t, ctx, "#letters summary")
	until(t, ctx, has("#messages pre", "<img src=x")+" && "+has("#letters pre", "<img src=x"))
	click(t, ctx, "#restart")
	until(t, ctx, has("#question", attack))
	press(t, ctx, kb.Escape)
	click(t, ctx, "#reload")
	until(t, ctx, has("#dialog pre", "+ starts new"+attack))
	if got := eval[string](t, ctx,
		`[...document.querySelectorAll("img, script, iframe, object, base, style, [style]:not(.uplot *, .uplot), [onerror]")].map(e => e.outerHTML).join("\n")`); strings.Count(got,
		"<script") != 2 || strings.Contains(got, "attacked") || strings.Contains(got, "<img") {
		t.Errorf("the document has %s", got)
	}
}

// All can be done by keyboard, and what changes anything is asked first and is a POST.
func keys(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "")
	do(t, ctx, chromedp.Navigate(f.URL))
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 8`)
	focus := func(want string) { t.Helper(); until(t, ctx, fmt.Sprintf(`document.activeElement.matches(%q)`, want)) }
	asked := func(want string) {
		t.Helper()
		if got := <-f.actions; got != want {
			t.Errorf("the bridge was asked %q, want %q", got, want)
		}
	}
	press(t, ctx, "/")
	focus("#filter")
	press(t, ctx, "paused jp")
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 0 && document.querySelector("#none").offsetHeight > 0`)
	press(t, ctx, kb.Escape)
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 8 && document.activeElement === document.body`)
	press(t, ctx, "/")
	focus("#filter")
	press(t, ctx, "paused")
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 1`)
	press(t, ctx, kb.Escape)
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 8`)
	press(t, ctx, "j")
	focus(`[href="#/archive"]`)
	press(t, ctx, "k")
	focus(`[href="#/orders-to-warehouse"]`)
	press(t, ctx, kb.Enter)
	until(t, ctx, has("#name", "orders-to-warehouse"))
	press(t, ctx, "r")
	until(t, ctx, has("#question", "Restart orders-to-warehouse?"))
	press(t, ctx, kb.Escape)
	until(t, ctx, `!document.querySelector("#dialog").open`)
	press(t, ctx, "r")
	until(t, ctx, has("#question", "Restart orders-to-warehouse?"))
	press(t, ctx, kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/restart application/json {}")
	until(t, ctx, has("#notes", "Restart orders-to-warehouse: not drained"))
	press(t, ctx, "p")
	until(t, ctx, has("#question", "Pause orders-to-warehouse?"))
	press(t, ctx, kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/pause application/json {}")
	f.set(func(s *monitor.Status) { s.Pipelines[1].State = monitor.Paused })
	until(t, ctx, has("#pause", "Resume"))
	press(t, ctx, "p")
	until(t, ctx, has("#question", "Resume orders-to-warehouse?"))
	press(t, ctx, kb.Enter)
	asked("POST /pipelines/orders-to-warehouse/resume application/json {}")
	press(t, ctx, "R")
	until(t, ctx, has("#dialog", "~ restarts sensors: steps, to changed")+" && "+
		has("#dialog", "2 untouched\n! old leaves"))
	press(t, ctx, kb.Enter)
	asked("POST /reload application/json {}")
	press(t, ctx, "?")
	until(t, ctx, has("#dialog", "pause or resume"))
	press(t, ctx, kb.Escape)
	until(t, ctx, `!document.querySelector("#dialog").open`)
	press(t, ctx, "t")
	focus("#tap [name=when]")
	select {
	case more := <-f.actions:
		t.Errorf("the bridge was asked %q, too", more)
	default:
	}
}

// Messages are shown as they pass, and dead letters with a replay of those that are shown.
func messages(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#tap [name=when]"), "broken"+kb.Enter))
	until(t, ctx, has("#tap [role=status]", "when: unknown name broken"))
	eval[string](t, ctx, `document.querySelector("#tap [name=when]").value = ""`)
	click(t, ctx, "#tap button")
	until(t, ctx, has("#tap button", "Stop"))
	for n := range 500 {
		f.tapped <- fmt.Sprintf(
			`{"at":"2026-11-28T12:00:00Z","place":"to","outcome":"delivered","message":{"topic":"hall/%d","payload":"21.5"},"after":[{"payload":"21.6"}]}`, n)
	}
	f.tapped <- `{"missed":42}`
	f.tapped <- `{}`
	until(t, ctx, has("#tap [role=status]", "500 seen, 42 missed")+" && "+
		has("#messages summary", "hall/499 21.5 → 21.6"))
	if got := eval[int](t, ctx, `document.querySelectorAll("#messages details").length`); got != 300 {
		t.Errorf("%d messages are kept, want 300", got)
	}
	click(t, ctx, "#tap button")
	until(t, ctx, has("#tap [role=status]", "500 seen, 42 missed, stopped")+" && "+has("#tap button", "Look"))

	for n := range 3 {
		f.dead = append(f.dead, fmt.Sprintf(
			`{"number":%d,"reason":"too large %d","instance":"sensors-to-jetstream-to","last":"2026-11-28T12:00:00Z","topic":"hall","payload":"x"}`,
			n+7, n))
	}
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#dead [name=filter]"), "LARGE 2"+kb.Enter))
	until(t, ctx, has("#letters", "too large 2"))
	if got := eval[int](t, ctx, `document.querySelectorAll("#letters details").length`); got != 1 {
		t.Errorf("%d letters are shown, want the one of the filter", got)
	}
	click(t, ctx, "#replay")
	until(t, ctx, has("#question", "Replay 1 dead letters of sensors-to-jetstream?"))
	press(t, ctx, kb.Enter)
	if got, want := <-f.actions,
		`POST /dead/replay application/json {"pipeline":"sensors-to-jetstream","numbers":[9]}`; got != want {
		t.Errorf("the bridge was asked %q, want %q", got, want)
	}
}

// What the server does not have is not shown.
func hidesWhatIsNotThere(t *testing.T, ctx context.Context) {
	mux := http.NewServeMux()
	mux.Handle("/", page.New(page.Config{Status: some, Offers: func(string, string) bool { return false }}))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	do(t, ctx, chromedp.Navigate(server.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	if got := eval[string](t, ctx,
		`[...document.querySelectorAll("[data-needs]")].filter(e => e.offsetHeight).map(e => e.dataset.needs).join()`); got != "" {
		t.Errorf("shown are %s", got)
	}
	press(t, ctx, "pR?")
	until(t, ctx, has("#dialog", "filter the list"))
	if eval[bool](t, ctx, has("#dialog", "pause")) {
		t.Error("the keys name what is not there")
	}
}

// A token is asked for where the server wants one, again if it is wrong, and kept for the tab.
func signsIn(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "s3cret")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#question", "Sign in"))
	if got := eval[string](t, ctx, `document.documentElement.outerHTML`); strings.Contains(got, "jetstream") {
		t.Errorf("a stranger sees %s", got)
	}
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#answer input"), "wrong"+kb.Enter))
	until(t, ctx, `document.querySelector("#answer input").value === "" && document.querySelector("#dialog").open`)
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#answer input"), "s3cret"+kb.Enter))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	do(t, ctx, chromedp.Reload())
	until(t, ctx, has("#name", "sensors-to-jetstream"))
}

// 200 pipelines are a list that can be filtered, with the graph of the one that is open.
func manyPipelines(t *testing.T, ctx context.Context) {
	s := some()
	for n := len(s.Pipelines); n < 200; n++ {
		p := s.Pipelines[n%5]
		p.Name = fmt.Sprintf("plant-%d", n)
		s.Pipelines = append(s.Pipelines, p)
	}
	f := newFake(t, s, "")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/plant-150"))
	until(t, ctx, has("#name", "plant-150")+` && document.querySelectorAll("#list tbody tr").length === 200`)
	shoot(t, ctx, "many")
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#filter"), "Plant-19 running"))
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 5`) // 19, 190, 194, 195 and 199
	f.set(func(s *monitor.Status) { s.Pipelines = append(s.Pipelines[:10:10], s.Pipelines[195:]...) })
	until(t, ctx, `document.querySelectorAll("#list tbody tr").length === 2 && document.querySelector("#detail").hidden && view.history.size === 15`)
}

// A connection that is lost is said, and made again.
func reconnects(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	f.set(func(s *monitor.Status) { s.Pipelines[0].Owed = 123 })
	eval[bool](t, ctx, `window.lost = false; new MutationObserver(() => { lost ||= document.querySelector("#notes").innerText.includes("No connection") }).observe(document.querySelector("#notes"), {childList: true}); true`)
	f.CloseClientConnections()
	until(t, ctx, `lost`)
	until(t, ctx, has("#list", "123")+` && !`+has("#notes", "No connection"))
}

// Half an hour of events, as fast as they can be drawn, leaves the page's memory as it was once its
// plots were full.
func memory(t *testing.T, ctx context.Context) {
	f := newFake(t, some(), "")
	do(t, ctx, chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	until(t, ctx, has("#name", "sensors-to-jetstream"))
	click(t, ctx, "#tap button")
	eval[bool](t, ctx, `window.base = view.status, true`)
	at := time.Now()
	run := func(events int) (bytes float64, elements int) {
		for done := 0; done < events; done += 100 {
			eval[bool](t, ctx, fmt.Sprintf(`(() => { for (let i = %d; i < %d; i++) {
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
		until(t, ctx, `document.querySelectorAll("#messages details").length === 300`)
		return heap(t, ctx), eval[int](t, ctx, `document.querySelectorAll("*").length`)
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
