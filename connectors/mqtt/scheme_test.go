package mqtt_test

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// Where nobody takes the connection the error says what to look at, and it may pass by itself.
func TestNobodyThere(t *testing.T) {
	for _, address := range []string{bridgetest.FreeAddr(t), "no-such-host.invalid"} {
		for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
			set := sinkSettings(t, scheme+"://"+address, 1)
			_, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
			if err == nil || bridge.IsPermanent(err) ||
				!strings.Contains(err.Error(), ": check url, and whether the broker runs") {
				t.Errorf("%s://%s: got %v", scheme, address, err)
			}
		}
	}
}

// A scheme that is not that of the port is suspected, whatever the broker does about it.
func TestWrongSchemeIsSuspected(t *testing.T) {
	ca := authority(t)
	cert, key := ca.issue(t)
	secure := []string{"cafile " + ca.path, "certfile " + cert, "keyfile " + key}
	var conf []string
	ports := make(map[string]string) // by what speaks there
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		address := bridgetest.FreeAddr(t)
		_, port, _ := net.SplitHostPort(address)
		ports["mosquitto "+scheme] = address
		conf = append(conf, "listener "+port+" 127.0.0.1")
		if strings.HasSuffix(scheme, "s") && scheme != "ws" {
			conf = append(conf, secure...)
		}
		if strings.HasPrefix(scheme, "ws") {
			conf = append(conf, "protocol websockets")
		}
	}
	bridgetest.StartMosquitto(t, conf...)
	ports["NATS mqtt"] = parse(t, startNATS(t)).Host
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	encrypted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(encrypted.Close)
	ports["Go http"], ports["Go https"] = plain.Listener.Addr().String(), encrypted.Listener.Addr().String()
	ports["nobody who answers"] = parse(t, standIn(t, func(p *peer) { _, _ = io.Copy(io.Discard, p) })).Host
	for name, address := range ports {
		_, speaks, _ := strings.Cut(name, " ")
		right := map[string]string{"http": "ws://", "https": "wss://", "who answers": "no answer within 1s: "}[speaks]
		for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
			if scheme == speaks {
				continue
			}
			want := right
			set := sinkSettings(t, scheme+"://"+address, 1)
			if speaks == "who answers" {
				set.ConnectTimeout = time.Second
			}
			set.TLS = bridge.TLS{Insecure: true}
			s, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
			if err == nil {
				closed(t, s.Close())
				t.Errorf("%s to %s: connected", scheme, name)
				continue
			}
			said := strings.TrimPrefix(err.Error(), "connect to "+scheme+"://"+address+": ")
			if want == scheme+"://" {
				want = "404 Not Found" // the path
			}
			if !strings.Contains(said, cmp.Or(want, speaks+"://")) || !strings.HasSuffix(said, "://?") ||
				bridge.IsPermanent(err) {
				t.Errorf("%s to %s: got %q, want a suspicion", scheme, name, said)
			}
		}
	}
}

// Where nobody listens at all, no scheme is to blame.
func TestNobodyListensIsNoWrongScheme(t *testing.T) {
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		set := sinkSettings(t, scheme+"://"+bridgetest.FreeAddr(t), 1)
		if _, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to")); err == nil ||
			!strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "?") {
			t.Errorf("%s: got %v", scheme, err)
		}
	}
}
