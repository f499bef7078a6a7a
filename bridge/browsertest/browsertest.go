// Package browsertest drives a real chromium for tests of pages.
package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// Tab is a tab of a browser. Its methods fail the test that opened it if they cannot do what they say.
type Tab struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // a tab is its context, by chromedp
}

// Start starts chromium, and returns what opens a tab in it, which shares nothing with others. What
// the console of a tab says against the page fails its test. Without chromium the test is skipped.
func Start(t testing.TB) (open func(t testing.TB) *Tab) {
	t.Helper()
	path := bridgetest.Program(t, "chromium")
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(5*time.Minute),
		chromedp.UserDataDir(t.TempDir()))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	(&Tab{t, ctx}).Do()
	return func(t testing.TB) *Tab {
		t.Helper()
		said := make(chan string, 1000)
		ctx, cancel := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(func(e any) {
			if text := complaint(e); text != "" {
				select {
				case said <- text:
				default:
				}
			}
		}))
		t.Cleanup(func() {
			cancel()
			for {
				select {
				case text := <-said:
					t.Errorf("the console says: %s", text)
				default:
					return
				}
			}
		})
		tab := &Tab{t, ctx}
		tab.Do(chromedp.EmulateViewport(1440, 1000))
		return tab
	}
}

// complaint is what an event of the console says against the page. That a request has failed is
// what some tests are about.
func complaint(e any) string {
	switch e := e.(type) {
	case *runtime.EventExceptionThrown:
		if e.ExceptionDetails.Exception != nil {
			return e.ExceptionDetails.Exception.Description
		}
		return e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "Failed to load resource") {
			return e.Entry.Text
		}
	}
	return ""
}

// Do does what chromedp knows.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// Go opens an address in the tab.
func (b *Tab) Go(url string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(url))
}

// Eval returns the value of an expression in the page, or what its promise becomes.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, bridgetest.Timeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return v
}

// Until waits until an expression is true in the page.
func (b *Tab) Until(expression string) {
	b.t.Helper()
	look := fmt.Sprintf(`new Promise(done => { const look = () => (%s) ? done(true) : setTimeout(look, 20); look() })`,
		expression)
	ctx, cancel := context.WithTimeout(b.ctx, bridgetest.Timeout)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](look, chromedp.EvalAwaitPromise)); err != nil {
		b.t.Fatalf("wait until %s: %v\nthe page says: %s", expression, err, Eval[string](b, `document.body.innerText`))
	}
}

// Click clicks an element when it can be, wherever it is then: what is above it may grow.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.Until(fmt.Sprintf(
		`(e => e && !e.disabled && e.checkVisibility() && (e.click(), true))(document.querySelector(%q))`, selector))
}

// Has is an expression that says whether an element shows a text.
func Has(selector, text string) string {
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? "").includes(%s)`, selector, quoted)
}

// Press presses keys one after another. Other than chromedp.KeyEvent, a key whose default the page
// prevents types nothing, as on a keyboard.
func (b *Tab) Press(keys string) {
	b.t.Helper()
	b.Do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, r := range keys {
			events := kb.Encode(r)
			down, up := events[0], events[len(events)-1]
			if len(events) == 3 {
				down.Type, down.Text = input.DispatchKeyEventTypeKeyDown, events[1].Text
			}
			for _, e := range []*input.DispatchKeyEventParams{down, up} {
				if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, *e); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// Shoot writes a screenshot to the test's folder, or to the one that XRTCBRIDGE_SCREENSHOTS names.
func (b *Tab) Shoot(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if !bytes.HasPrefix(picture, []byte("\x89PNG")) || len(picture) < 10_000 {
		b.t.Errorf("screenshot %s has %d bytes and begins with %q", name, len(picture), picture[:min(8, len(picture))])
	}
	folder := os.Getenv("XRTCBRIDGE_SCREENSHOTS")
	if folder == "" {
		folder = b.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Heap returns the bytes that the page's script holds after garbage was collected.
func (b *Tab) Heap() float64 {
	b.t.Helper()
	n, err := chromedp.Run(b.ctx, func(ctx context.Context, target *chromedp.Target) (float64, error) {
		for range 2 { // what only a finaliser held goes the second time
			if _, err := cdp.Call(ctx, target, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
				return 0, err
			}
		}
		use, err := cdp.Call(ctx, target, runtime.GetHeapUsage, cdp.Empty{})
		return use.UsedSize, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}
