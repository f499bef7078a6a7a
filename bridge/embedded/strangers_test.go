package embedded_test

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

// S42: where everybody may enter, who has and says nothing of itself is no stranger.
func TestS42NamelessClientsStay(t *testing.T) {
	e := start(t, embedded.Settings{NATS: &embedded.NATS{Listen: anyPort, Open: true}})
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(e.NATSURL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	clients := map[string]net.Conn{"SUB x 1": nil, "PUB x 0\r\n": nil}
	lines := make(map[string]*bufio.Scanner)
	ping := func(what, first string) error {
		if _, err := clients[what].Write([]byte(first + "PING\r\n")); err != nil {
			return err
		}
		for lines[what].Scan() {
			if lines[what].Text() == "PONG" {
				return nil
			}
		}
		return cmp.Or(lines[what].Err(), io.ErrUnexpectedEOF)
	}
	for what := range clients {
		clients[what] = dial()
		lines[what] = bufio.NewScanner(clients[what])
		if err := ping(what, "CONNECT {}\r\n"+what+"\r\n"); err != nil {
			t.Fatal(what, err)
		}
	}
	stranger := dial()
	for range 1500 {
		dial()
	}
	if _, err := io.Copy(io.Discard, stranger); err != nil { // it made room
		t.Log(err)
	}
	for what := range clients {
		if err := ping(what, ""); err != nil {
			t.Errorf("%q: %v", what, err)
		}
	}
}

// S42: connections without login keep nobody out of the embedded servers, and end nobody's
// connection.
func TestS42StrangersKeepNobodyOut(t *testing.T) {
	password := bridge.NewSecret("p")
	e := start(t, embedded.Settings{
		NATS: &embedded.NATS{Listen: anyPort, Username: "u", Password: password},
		MQTT: &embedded.MQTT{Listen: anyPort, Username: "m", Password: password},
	})
	natsAs := func(options ...nats.Option) *nats.Conn {
		t.Helper()
		nc, err := nats.Connect(e.NATSURL(), append(options, nats.UserInfo("u", "p"), nats.NoReconnect(),
			nats.Timeout(bridgetest.Timeout))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	mqttAs := func(id string) mqtt.Client {
		t.Helper()
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(strings.Replace(e.MQTTURL(), "mqtt", "tcp", 1)).SetClientID(id).
			SetUsername("m").SetPassword("p").SetAutoReconnect(false).SetConnectTimeout(bridgetest.Timeout))
		token := c.Connect()
		if token.Wait(); token.Error() != nil {
			t.Fatal(token.Error())
		}
		t.Cleanup(func() { c.Disconnect(0) })
		return c
	}
	before, inProcess, subscriber := natsAs(), natsAs(nats.InProcessServer(e)), mqttAs("before")
	addresses := []string{strings.TrimPrefix(e.NATSURL(), "nats://"), strings.TrimPrefix(e.MQTTURL(), "mqtt://")}
	// Several at a time, since each has eleven seconds until its own time-out.
	const atATime = 16
	strangers := func(n int) []net.Conn {
		t.Helper()
		conns, errs := make([]net.Conn, n), make([]error, n)
		var dialing sync.WaitGroup
		for first := range atATime {
			dialing.Go(func() {
				for i := first; i < n; i += atATime {
					conns[i], errs[i] = (&net.Dialer{}).DialContext(t.Context(), "tcp", addresses[i%2])
				}
			})
		}
		dialing.Wait()
		check(t, errors.Join(errs...))
		t.Cleanup(func() {
			for _, c := range conns {
				_ = c.Close()
			}
		})
		return conns
	}
	var oldest []*bufio.Reader
	for i, c := range strangers(200) {
		if i%2 == 1 {
			continue // of MQTT, which says nothing
		}
		// Those that come later may be taken earlier, unless the server has spoken before they
		// come.
		r := bufio.NewReader(c)
		if said, err := r.ReadString('\n'); !strings.HasPrefix(said, "INFO") {
			t.Fatalf("a connection was told %q, %v", said, err)
		}
		oldest = append(oldest, r)
	}
	strangers(800)
	for _, r := range oldest {
		if said, _ := io.ReadAll(r); strings.Contains(string(said), "Timeout") {
			t.Fatalf("one of the oldest was told %q, and should have gone to make room", said)
		}
	}
	for range 5 {
		strangers(100)
		natsAs().Close()
		mqttAs("during").Disconnect(0)
	}
	for name, nc := range map[string]*nats.Conn{"NATS": before, "in the process": inProcess} {
		if err := nc.FlushTimeout(bridgetest.Timeout); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !subscriber.IsConnectionOpen() {
		t.Error("MQTT: the connection is gone")
	}
}
