//go:build !race

package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// memoryBound is what the process may take: the collector lets the heap grow to the double, the
// process takes some by itself, and connections that wait for a request have memory of nobody's.
const memoryBound = 2*memoryMost + 40<<20

// attack is somebody with a valid key.
type attack struct {
	t      *testing.T
	addr   string
	cookie string
}

// login makes a session.
func (a attack) login(c *wireConn) string {
	a.t.Helper()
	c.post(pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey))
	r, err := http.ReadResponse(c.r, nil)
	if err != nil || r.StatusCode != http.StatusOK {
		a.t.Fatalf("login: got %v, %v", r, err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return strings.SplitN(r.Header.Get("Set-Cookie"), ";", 2)[0]
}

// many calls f with a connection for each, some at a time.
func (a attack) many(n int, f func(c *wireConn, i int)) {
	var work sync.WaitGroup
	for w := range 4 {
		c := dial(a.t, a.addr)
		work.Go(func() {
			for i := w; i < n; i += 4 {
				f(c, i)
			}
		})
	}
	work.Wait()
}

// ask makes a request that is served or refused.
func (a attack) ask(c *wireConn, path, cookie, body string) {
	c.post(path, cookie, body)
	if status, text := c.answer(); status != "200 OK" && status != "400 Bad Request" && status != "401 Unauthorized" {
		a.t.Errorf("got %s and %s", status, text)
	}
}

// hold makes many requests at a time that do not end, until the server takes no more.
func (a attack) hold(n int, text func(i int) string) {
	for i := range n {
		_, _ = io.WriteString(dial(a.t, a.addr), text(i))
	}
	a.ask(dial(a.t, a.addr), pathGet, a.cookie, probeA) // it has come to all of them
}

func portalsBody(mode string, from, n int) string {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `,{"portalid":"portal%d"}`, from+i)
	}
	return `{"mode":"` + mode + `","portals":[` + b.String()[1:] + `]}`
}

// S43: what an account takes is bounded, whatever its keys do with the server, and counted where it
// lies: the process does not grow beyond it.
func TestS43AccountMemory(t *testing.T) {
	large := strings.Repeat("x", 60_000)
	for _, tt := range []struct {
		name string
		do   func(a attack)
	}{
		{"small items beside large ones", func(a attack) {
			a.many(30_000, func(c *wireConn, i int) {
				a.ask(c, pathSet, a.cookie, setBody(t, "large:"+large[:3700], fmt.Sprintf("p%d:", i%900)))
			})
		}},
		{"small items behind large ones", func(a attack) {
			a.many(2000, func(c *wireConn, i int) {
				p := fmt.Sprintf("p%d:", i%1000)
				a.ask(c, pathSet, a.cookie, setBody(t, p+large, p))
			})
		}},
		{"many small items", func(a attack) {
			items := make([]string, 1500)
			for i := range items {
				items[i] = fmt.Sprintf("p%d:", i%1000)
			}
			body := setBody(t, items...)
			a.many(400, func(c *wireConn, _ int) { a.ask(c, pathSet, a.cookie, body) })
		}},
		{"portals that went", func(a attack) {
			a.many(40, func(c *wireConn, i int) {
				items := make([]string, 1000)
				for k := range items {
					items[k] = fmt.Sprintf("%032d:", 1000*i+k)
				}
				a.ask(c, pathSet, a.cookie, setBody(t, items...))
			})
		}},
		{"sessions", func(a attack) { a.many(20_000, func(c *wireConn, _ int) { a.login(c) }) }},
		{"sessions that read portals", func(a attack) {
			cookies := make([]string, 300)
			a.many(len(cookies), func(c *wireConn, i int) { cookies[i] = a.login(c) })
			for generation := range 3 {
				items := make([]string, 1000)
				for i := range items {
					items[i] = fmt.Sprintf("portal%d:", 1000*generation+i)
				}
				a.ask(dial(t, a.addr), pathSet, a.cookie, setBody(t, items...))
				body := portalsBody("probe", 1000*generation, 1000)
				a.many(len(cookies), func(c *wireConn, i int) { a.ask(c, pathGet, cookies[i], body) })
			}
		}},
		{"streams of many portals", func(a attack) {
			a.hold(600, func(i int) string { return rawPost(pathGet, a.cookie, portalsBody("stream", 2000*i, 2000)) })
		}},
		{"slow bodies", func(a attack) {
			a.hold(1500, func(int) string { return strings.TrimSuffix(rawPost(pathSet, a.cookie, large), "xx") })
		}},
		{"slow readers", func(a attack) {
			a.many(400, func(c *wireConn, _ int) { a.ask(c, pathSet, a.cookie, setBody(t, "big:"+large)) })
			a.many(4, func(c *wireConn, _ int) {
				for range 100 {
					cookie := a.login(c)
					_, _ = io.WriteString(dial(t, a.addr),
						rawPost(pathGet, cookie, `{"portals":[{"portalid":"big"}],"mode":"stream","schedule":"FIFO"}`))
				}
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), memoryChild+"=1")
			child.Stderr = os.Stderr
			in, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			addr, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			a := attack{t: t, addr: strings.TrimSpace(addr)}
			a.cookie = a.login(dial(t, a.addr))
			tt.do(a)
			took := peakMemory(t, child.Process.Pid)
			t.Logf("the process took %d MiB at the most", took>>20)
			if took > memoryBound {
				t.Errorf("it took %d MiB, %d are the most", took>>20, memoryBound>>20)
			}
			c := dial(t, a.addr) // and it serves on
			a.ask(c, pathSet, a.login(c), setBody(t, "a:1"))
			_ = in.Close()
			if err := child.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// peakMemory is the most that a process has had in memory.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kB int
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB << 10
}
