//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// heard is what a command says, and its exit code.
type heard struct {
	said string
	code int
}

// A stop in the middle of a reload, that waits for somebody who does not answer, is one like any other:
// the reload is given up, who asked hears that, and all that was read is delivered and accounted for.
func TestStopDuringAReload(t *testing.T) {
	for _, way := range []string{"command", "hangup"} {
		t.Run(way, func(t *testing.T) {
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			dialled := make(chan net.Conn, 100)
			go func() {
				for {
					c, err := silent.Accept()
					if err != nil {
						close(dialled)
						return
					}
					dialled <- c
				}
			}()
			base := reloadTop + ticks("kept", "kept.txt")
			notIgnored(t, syscall.SIGHUP)
			r := startReloading(t, base+ticks("b", "b.txt"))
			r.flows("kept.txt")
			r.flows("b.txt")
			write(t, r.dir, "p.yaml", fmt.Sprintf(
				"%s  b: {from: {generate: {interval: 1ms}}, to: {mqtt: {url: \"mqtt://%s\", topic: b}}}\n", base,
				silent.Addr()))
			asked := make(chan heard, 1)
			if way == "command" {
				go func() {
					said, code := r.ask("reload", r.file)
					asked <- heard{said, code}
				}()
			} else {
				r.signal(syscall.SIGHUP)
			}
			c, ok := <-dialled
			if !ok {
				t.Fatal("nobody has dialled")
			}
			defer c.Close()
			r.signal(syscall.SIGTERM)
			if way == "command" {
				if a := <-asked; a.code != exitFailed || !strings.Contains(a.said, engine.ErrStopping.Error()) {
					t.Errorf("who asked hears %q, exit code %d", a.said, a.code)
				}
			}
			r.stopped(map[string]string{"kept": "kept.txt", "b": "b.txt"})
			if r.log.count("reload was given up") != 1 || r.log.count("reload failed") != 0 {
				t.Errorf("the log does not say what became of the reload:\n%s", r.log.tail())
			}
		})
	}
}

// A stop while a reload starts a plugin that never becomes ready ends that, too.
func TestStopWhileAReloadStartsAPlugin(t *testing.T) {
	for way, section := range map[string]string{
		"listed": "plugins: {hangs: {path: ./xrtcbridge-hangs, limits: {start: 1h}}}\n",
		"found":  "", // in a folder
	} {
		t.Run(way, func(t *testing.T) {
			base := reloadTop + ticks("kept", "kept.txt")
			r := startReloading(t, base, "--plugin-dir", ".")
			r.flows("kept.txt")
			pidFile := filepath.Join(r.dir, "pid")
			script := write(t, r.dir, "xrtcbridge-hangs",
				fmt.Sprintf("#!/bin/sh\necho $$ > '%s.new' && mv '%[1]s.new' '%[1]s'\nexec sleep 3600\n", pidFile))
			if err := os.Chmod(script, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, r.dir, "p.yaml", section+base+"  new: {from: {generate: {}}, to: hangs}\n")
			asked := make(chan heard, 1)
			go func() {
				said, code := r.ask("reload", r.file)
				asked <- heard{said, code}
			}()
			var pid int
			bridgetest.Eventually(t, "the plugin is being started", func() bool {
				text, _ := os.ReadFile(pidFile)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid != 0
			})
			r.signal(syscall.SIGTERM)
			bridgetest.Eventually(t, "the plugin is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
			if a := <-asked; a.code != exitFailed || !strings.Contains(a.said, engine.ErrStopping.Error()) {
				t.Errorf("who asked hears %q, exit code %d", a.said, a.code)
			}
			r.stopped(map[string]string{"kept": "kept.txt"})
			if r.log.count("plugin ended") != 0 {
				t.Errorf("a plugin that was given up is said to have crashed:\n%s", r.log.tail())
			}
		})
	}
}

// stopped waits for the end of a bridge that was told to stop, and holds the ledgers against the files
// to which the pipelines write.
func (r *reloading) stopped(files map[string]string) {
	r.t.Helper()
	if code := r.exit(); code != exitDone {
		r.t.Errorf("exit code %d", code)
	}
	if r.log.count("panic") != 0 {
		r.t.Errorf("there was a panic:\n%s", r.log.tail())
	}
	for name, file := range files {
		got := len(readLines(r.t, filepath.Join(r.dir, file)))
		if l := ledgerOf(r.t, r.log.String(), name); number(l, "delivered") != got || number(l, "received") != got ||
			number(l, "in_flight") != 0 {
			r.t.Errorf("%s: %d lines, and the ledger is %v", name, got, l)
		}
	}
}

// While the bridge delivers what it has read at its end, a reload is refused.
func TestReloadWhileDraining(t *testing.T) {
	const lot = 100
	h, dir, ledger := startHub(t), t.TempDir(), new(faulttest.Ledger)
	proxy, out := faulttest.NewProxy(t, h.addr), h.outlet("OUT", ledger)
	in := filepath.Join(dir, "in.txt")
	lines(t, in, 0, lot, lineSize, ledger)
	text := fmt.Sprintf(`
drain_timeout: 1h
pipelines:
  relay: {from: {file: {path: in.txt, follow: true}}, to: {nats: {url: "nats://%s", stream: OUT, subject: OUT.file}}}
`, proxy.Addr())
	r := &reloading{dir: dir, file: write(t, dir, "p.yaml", text)}
	r.process = start(t, dir, io.Discard, "run", "--log-format", "json", r.file)
	r.answers()
	bridgetest.Eventually(t, "the first lot is confirmed", func() bool {
		l := r.status().Pipelines[0].Ledger
		return l.Delivered == lot && l.InFlight == 0
	})
	proxy.Set(faulttest.Fault{BlackHole: true})
	lines(t, in, lot, lot, lineSize, ledger)
	bridgetest.Eventually(t, "they are on their way", func() bool { return r.status().Pipelines[0].Ledger.InFlight > 0 })
	r.signal(syscall.SIGTERM)
	bridgetest.Eventually(t, "it drains", func() bool { return r.status().Draining })
	said := r.reload(text+ticks("more", "more.txt"), exitFailed)
	if !strings.Contains(said, engine.ErrStopping.Error()) {
		t.Errorf("who asked hears %q", said)
	}
	proxy.Set(faulttest.Fault{})
	r.stopped(nil)
	l := ledgerOf(t, r.log.String(), "relay")
	read := number(l, "received") // all, unless the stop came when a part of the lot was there to be read
	if number(l, "delivered") != read || read <= lot || number(l, "in_flight") != 0 {
		t.Errorf("the ledger is %v", l)
	}
	out.await(read)
	ledger.Buffered(2*lot - read)
	ledger.Check(t, 2*lot)
	if r.log.count(`"pipeline":"more"`) != 0 {
		t.Errorf("a pipeline was started by a bridge that stops:\n%s", r.log.tail())
	}
}

// A stop during a reload leaves a new pipeline its plugins until it has delivered what it has read.
func TestStopDuringAReloadKeepsNewPlugins(t *testing.T) {
	program, err := exec.LookPath("xrtcbridge-count")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XRTCBRIDGE_PLUGINS", filepath.Dir(program))
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	silent := make(chan net.Conn, 100)
	go func() { // it answers who tries it, and nobody then
		for first := true; ; first = false {
			c, err := broker.Accept()
			if err != nil {
				return
			}
			if first {
				_, _ = packets.ReadPacket(c)
				_ = packets.NewControlPacket(packets.Connack).Write(c)
			} else {
				silent <- c
			}
		}
	}()
	r := startReloading(t, reloadTop+ticks("b", "b.txt"))
	r.flows("b.txt")
	write(t, r.dir, "p.yaml", fmt.Sprintf(
		"%s  b: {from: {generate: {interval: 1ms}}, to: {mqtt: {url: \"mqtt://%s\", topic: b, protocol: 3.1.1}}}\n"+
			"  c: {from: {generate: {interval: 10ms}}, steps: [{delay: 1s}], to: count}\n", reloadTop, broker.Addr()))
	asked := make(chan heard, 1)
	go func() {
		said, code := r.ask("reload", r.file)
		asked <- heard{said, code}
	}()
	defer (<-silent).Close()
	bridgetest.Eventually(t, "the new pipeline delivers", func() bool { return r.log.count(`"got"`) > 3 })
	r.signal(syscall.SIGTERM)
	if a := <-asked; a.code != exitFailed || !strings.Contains(a.said, engine.ErrStopping.Error()) {
		t.Errorf("who asked hears %q, exit code %d", a.said, a.code)
	}
	r.exit() // b was never connected
	l, got := ledgerOf(t, r.log.String(), "c"), r.log.count(`"got"`)
	if number(l, "delivered") != number(l, "received") || number(l, "delivered") != got {
		t.Errorf("the plugin has got %d, and the ledger is %v:\n%s", got, l, r.log.tail())
	}
}
