package nats_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// Whoever listens at the port of url, the error says what was heard there, and what to check.
func TestPortThatIsNotNATS(t *testing.T) {
	t.Parallel()
	speaks := func(words string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(words))
				_ = c.Close()
			}
		}()
		return l.Addr().String()
	}
	web := httptest.NewServer(nil)
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	mqtt := natstest.Start(t, func(o *server.Options) {
		o.ServerName, o.MQTT.Host, o.MQTT.Port = "s", "127.0.0.1",
			server.RANDOM_PORT
	})
	const silent, foreign = "takes connections and says nothing", "and is no NATS server"
	for name, c := range map[string]struct{ url, want string }{
		"HTTP":                {"nats://" + web.Listener.Addr().String(), silent},
		"HTTP, tls":           {"tls://" + web.Listener.Addr().String(), silent},
		"HTTP, ws":            {"ws://" + web.Listener.Addr().String(), `says "HTTP/1.1 404 Not Found", ` + foreign},
		"HTTPS":               {"nats://" + secure.Listener.Addr().String(), silent},
		"MQTT":                {"nats://" + mqttAddr(t, mqtt), silent},
		"SSH":                 {"nats://" + speaks("SSH-2.0-OpenSSH_9.2\r\n"), `says "SSH-2.0-OpenSSH_9.2", ` + foreign},
		"one that hangs up":   {"nats://" + speaks(""), silent},
		"nobody":              {"nats://" + bridgetest.FreeAddr(t), "connection refused"},
		"nobody of that name": {"nats://nowhere.invalid", "nowhere.invalid"},
	} {
		for _, limit := range []string{"connect_timeout", "context"} {
			t.Run(name+", "+limit, func(t *testing.T) {
				t.Parallel()
				most := bridgetest.Timeout
				if c.want == silent {
					most = 2 * time.Second
				}
				settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
				settings.URL, settings.Subject = url(t, c.url), bridge.Text("a")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if limit == "context" {
					time.AfterFunc(most, cancel)
				} else {
					settings.ConnectTimeout = most
				}
				_, err := nats.Connector().Sink.Open(ctx, settings, bridgetest.Env(t, "test-to"))
				if err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(), c.want) ||
					!strings.Contains(err.Error(), ": check ") {
					t.Errorf("err = %v, want one that says %s, and what to check", err, c.want)
				}
				if c.want == silent && name != "one that hangs up" && errors.Is(err, context.Canceled) != (limit == "context") {
					t.Errorf("err = %v is not about the context that ended, or is so", err)
				}
			})
		}
	}
}

// A server that is one is not said to be none because its words are encrypted.
func TestRefusedByWSSServer(t *testing.T) {
	ca, _, pair := certificate(t)
	s := natstest.Start(t, func(o *server.Options) {
		o.Username, o.Password = "u", "p"
		o.Websocket.Host, o.Websocket.Port = "127.0.0.1", server.RANDOM_PORT
		o.Websocket.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	})
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(v.Websocket.Host, strconv.Itoa(v.Websocket.Port))
	for want, set := range map[string]func(*nats.SinkSettings){
		"check username and password": func(s *nats.SinkSettings) { s.TLS.CA, s.Username = ca, "other" },
		"unknown authority":           func(s *nats.SinkSettings) { s.Username, s.Password = "u", bridge.NewSecret("p") },
	} {
		// The server hangs up right behind its reason. Whoever writes at that moment hears of that
		// only, and tries again.
		var err error
		for late := time.Now().Add(bridgetest.Timeout); time.Now().Before(late); {
			err = try(t, s, func(s *nats.SinkSettings) {
				s.URL = url(t, "wss://"+address)
				set(s)
			})
			if err == nil || strings.Contains(err.Error(), want) || bridge.IsPermanent(err) {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "no NATS server") {
			t.Errorf("err = %v, want one that says %s and nothing of another server", err, want)
		}
	}
}

func mqttAddr(t *testing.T, s *server.Server) string {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(v.MQTT.Host, strconv.Itoa(v.MQTT.Port))
}
