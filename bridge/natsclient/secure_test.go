package natsclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// dial connects to who takes connections at an address of its own.
func dial(t *testing.T, scheme string, serve func(net.Conn), set func(*natsclient.Settings)) error {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	})
	u, err := bridge.ParseURL(scheme + "://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	settings := &natsclient.Settings{URL: []bridge.URL{u}}
	set(settings)
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	var conn natsclient.Conn
	if err = conn.Dial(ctx, settings, "test"); err == nil {
		conn.End()
	}
	return err
}

// What comes in clear behind the first line is not taken for what comes by TLS.
func TestMoreThanALineBeforeTLS(t *testing.T) {
	config := secret(t)
	for _, scheme := range []string{"nats", "tls"} {
		err := dial(t, scheme, func(c net.Conn) {
			_, _ = io.WriteString(c, strings.Replace(info, `"headers":`, `"tls_required":true,"headers":`, 1)+
				"PONG\r\nMSG x 1 5\r\nhello\r\n")
			converse(tls.Server(c, config), "")
		}, func(s *natsclient.Settings) { s.TLS.Insecure = scheme == "tls" })
		if err == nil || !strings.Contains(err.Error(), "more than a line before TLS") {
			t.Errorf("%s: err = %v", scheme, err)
		}
	}
}

// A handshake that nobody answers ends with connect_timeout, also where the library waits for ever.
func TestHandshakeWithoutAnswer(t *testing.T) {
	for scheme, first := range map[string]string{"wss": "", "tls": strings.Replace(info, `"headers":`,
		`"tls_required":true,"headers":`, 1)} {
		err := dial(t, scheme, func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			_, _ = io.Copy(io.Discard, c)
		}, func(s *natsclient.Settings) { s.ConnectTimeout = 100 * time.Millisecond })
		if !errors.Is(err, nats.ErrTLS) {
			t.Errorf("%s: err = %v, want one of TLS", scheme, err)
		}
	}
}

// An error of TLS is not that of a server that says nothing.
func TestErrorsOfTLS(t *testing.T) {
	config := secret(t)
	strict := config.Clone()
	strict.ClientAuth = tls.RequireAnyClientCert
	for want, serve := range map[string]func(net.Conn){
		"certificate": func(c net.Conn) { _ = tls.Server(c, config).HandshakeContext(t.Context()) },
		"certificate required": func(c net.Conn) { // which comes behind the handshake
			_ = tls.Server(c, strict).HandshakeContext(t.Context())
			_, _ = io.Copy(io.Discard, c)
		},
		"does not look like a TLS handshake": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
	} {
		err := dial(t, "wss", serve, func(s *natsclient.Settings) { s.TLS.Insecure = want == "certificate required" })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "check tls") ||
			strings.Contains(err.Error(), "says nothing") {
			t.Errorf("err = %v, want one that says %q, and to check tls", err, want)
		}
	}
}

// Whatever a server of HTTP has in its answer, it is that which is said.
func TestServerOfHTTP(t *testing.T) {
	for _, body := range []string{"Not found", "{}", "<html>", "\xff\xff"} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
		}))
		u, err := bridge.ParseURL("ws://" + web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = new(natsclient.Conn).Dial(t.Context(), &natsclient.Settings{URL: []bridge.URL{u}}, "test")
		if err == nil || !strings.Contains(err.Error(), `says "HTTP/1.1 404 Not Found", and is no NATS server`) {
			t.Errorf("%q: err = %v", body, err)
		}
		web.Close()
	}
}

// A server that another has spoken of by its address has the name of that one.
func TestNamesOfServers(t *testing.T) {
	var s natsclient.Settings
	for _, text := range []string{"tls://a.example:4222", "tls://10.0.0.9:4222", "tls://[::1]:4222"} {
		u, err := bridge.ParseURL(text)
		if err != nil {
			t.Fatal(err)
		}
		s.URL = append(s.URL, u)
	}
	got := s.Named("10.0.0.1:4222", "a.example:4222", "10.0.0.1:4222", "10.0.0.9:4222", "[::1]:4222", "b.example:4222",
		"[::2]:4222")
	want := []string{"10.0.0.1", "a.example", "a.example", "10.0.0.9", "::1", "b.example", "b.example"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
