package bridgetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Mosquitto is a real MQTT broker under the control of a test. Its methods
// are for one goroutine; they fail the test if the broker does not obey.
//
// It stores its state when it is stopped, so a Kill costs it what has changed since its
// start; see [StoreOften]. A test that counts through a Kill must not hold against a
// connector what the broker lost by itself.
type Mosquitto struct {
	URL  string // mqtt://127.0.0.1:port, the same after each Start
	Addr string // 127.0.0.1:port

	t      testing.TB
	dir    string
	conf   []string
	proc   *os.Process
	exited chan struct{}
}

// StoreOften is configuration that makes a [Mosquitto] store its state after each
// turn of its main loop that changed it. It is slow when many messages are queued, and not quite
// safe against Kill either: the broker acknowledges first and stores then.
const StoreOften = "autosave_on_changes true\nautosave_interval 1"

// StartMosquitto starts a broker on a free port, with its files in a temporary folder,
// and returns when it answers. Lines of conf are appended to its
// configuration, where the last line about a thing counts. The test's end kills it.
func StartMosquitto(t testing.TB, conf ...string) *Mosquitto {
	t.Helper()
	Program(t, "mosquitto")
	addr := FreeAddr(t)
	m := &Mosquitto{URL: "mqtt://" + addr, Addr: addr, t: t, dir: t.TempDir(), conf: conf}
	t.Cleanup(m.cleanup)
	if err := m.start(); err != nil {
		t.Fatalf("start mosquitto: %v", err)
	}
	return m
}

// FreeAddr returns a loopback host:port on which nobody listens, and which the system gives to
// nobody until the test ends: a server may listen there, stop and start again meanwhile.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer Vacate(tb, l)
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = out.Close() })
	for {
		in, err := l.Accept() // a connection keeps the port taken, and does not keep a server from it
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = in.Close() })
		if in.RemoteAddr().String() == out.LocalAddr().String() {
			break
		} // or somebody still tries a server that listened there before, and may leave at any time
	}
	return l.Addr().String()
}

// Vacate closes a listener, and returns when nobody listens there any more: a process that this one
// has just started has the listener, too, for a moment, which is long on a busy machine.
func Vacate(tb testing.TB, l net.Listener) {
	tb.Helper()
	_ = l.Close()
	Eventually(tb, "nobody listens at "+l.Addr().String(), func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// Start starts a stopped or killed broker again, on the same port and state.
func (m *Mosquitto) Start() {
	m.t.Helper()
	if err := m.start(); err != nil {
		m.t.Fatalf("start mosquitto again: %v", err)
	}
}

// Stop ends the broker in good order (SIGTERM); it stores its state.
func (m *Mosquitto) Stop() { m.t.Helper(); m.end(syscall.SIGTERM) }

// Kill ends the broker at once (SIGKILL).
func (m *Mosquitto) Kill() { m.t.Helper(); m.end(syscall.SIGKILL) }

// Forget removes what the broker stored. It must not be running.
func (m *Mosquitto) Forget() {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.dir, "mosquitto.db")); err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
}

// Log returns what the broker logged, of all its starts.
func (m *Mosquitto) Log() string {
	text, _ := os.ReadFile(filepath.Join(m.dir, "mosquitto.log"))
	return string(text)
}

func (m *Mosquitto) start() error {
	conf, err := m.writeConf()
	if err != nil {
		return err
	}
	// A file and not a pipe, so that nothing of this process must copy.
	log, err := os.OpenFile(filepath.Join(m.dir, "mosquitto.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(Program(m.t, "mosquitto"), "-c", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	m.proc, m.exited = cmd.Process, exited
	return m.waitReady()
}

func (m *Mosquitto) writeConf() (string, error) {
	_, port, _ := net.SplitHostPort(m.Addr)
	lines := append([]string{
		"user root", // only root could change to another user, who then cannot write here
		"persistence true",
		"persistence_location " + m.dir + "/",
		"allow_anonymous true",
		"max_queued_messages 0",
		"max_inflight_messages 1000",
		"set_tcp_nodelay true",
		"sys_interval 0",
		"listener " + port + " 127.0.0.1",
	}, m.conf...)
	path := filepath.Join(m.dir, "mosquitto.conf")
	return path, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (m *Mosquitto) waitReady() error {
	deadline := time.After(Timeout)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		if m.answers() {
			return m.stillRunning()
		}
		select {
		case <-poll.C:
		case <-m.exited:
			return m.stillRunning()
		case <-deadline:
			return fmt.Errorf("no answer on %s within %v: %s", m.Addr, Timeout, m.Log())
		}
	}
}

// answers tells whether the broker serves clients, and not only listens: it opens one
// listener after the other. It hangs up on a client that does not start with CONNECT.
func (m *Mosquitto) answers() bool {
	c, err := net.Dial("tcp", m.Addr)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	if c.LocalAddr().String() == c.RemoteAddr().String() {
		return false // nobody listens, and the system gave the socket the port that it connects to
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err = c.Write([]byte{0xc0, 0}); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// stillRunning tells an answer of this broker from that of a stranger on its port.
func (m *Mosquitto) stillRunning() error {
	select {
	case <-m.exited:
		return fmt.Errorf("it exited: %s", m.Log())
	default:
		return nil
	}
}

func (m *Mosquitto) end(sig os.Signal) {
	m.t.Helper()
	if err := m.proc.Signal(sig); err != nil {
		m.t.Fatalf("signal mosquitto: %v", err)
	}
	select {
	case <-m.exited:
	case <-time.After(Timeout):
		m.t.Fatalf("mosquitto did not exit within %v of %v", Timeout, sig)
	}
}

func (m *Mosquitto) cleanup() {
	if m.proc != nil {
		_ = m.proc.Kill()
		<-m.exited
	}
	if m.t.Failed() {
		log := m.Log()
		m.t.Logf("mosquitto logged:\n%s", log[max(0, len(log)-4096):])
	}
}
