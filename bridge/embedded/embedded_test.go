package embedded_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

const anyPort = "127.0.0.1:0"

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }

func start(t *testing.T, s embedded.Settings) *embedded.Server {
	t.Helper()
	e, err := embedded.Start(t.Context(), s, bridgetest.Env(t, "embedded").Logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, e) })
	return e
}

func stop(t *testing.T, e *embedded.Server) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func connect(t *testing.T, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, append(options, nats.NoReconnect(), nats.Timeout(bridgetest.Timeout))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func mqttClient(t *testing.T, url string, set func(*mqtt.ClientOptions)) (mqtt.Client, error) {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker(url).SetAutoReconnect(false).SetConnectTimeout(bridgetest.Timeout)
	if set != nil {
		set(o)
	}
	c := mqtt.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(bridgetest.Timeout) {
		t.Fatal("no answer to CONNECT")
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c, token.Error()
}

func TestNothingToRun(t *testing.T) {
	e := start(t, embedded.Settings{})
	if e.NATSURL() != "" || e.MQTTURL() != "" {
		t.Errorf("addresses %q and %q of no server", e.NATSURL(), e.MQTTURL())
	}
}

func TestMQTTToNATS(t *testing.T) {
	e := start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true},
		NATS: &embedded.NATS{Listen: anyPort, Open: true},
	})
	js := connect(t, e.NATSURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	c, err := mqttClient(t, e.MQTTURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token := c.Publish("a/b", 1, false, "hello"); !token.WaitTimeout(bridgetest.Timeout) || token.Error() != nil {
		t.Fatalf("publish: %v", token.Error())
	}
	// The PUBACK says that the server has it, not yet that the stream has.
	sub, err := js.OrderedConsumer(t.Context(), "S", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := sub.Next(jetstream.FetchMaxWait(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject() != "a.b" || string(m.Data()) != "hello" {
		t.Errorf("got %s %q, want a.b \"hello\"", m.Subject(), m.Data())
	}
}

func TestOnlyMQTT(t *testing.T) {
	e := start(t, embedded.Settings{MQTT: &embedded.MQTT{Listen: anyPort, Open: true}})
	if e.NATSURL() != "" {
		t.Errorf("NATS listens on %s unasked", e.NATSURL())
	}
	c, err := mqttClient(t, e.MQTTURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	token := c.Subscribe("a/+", 1, func(_ mqtt.Client, m mqtt.Message) { got <- m.Topic() + " " + string(m.Payload()) })
	if !token.WaitTimeout(bridgetest.Timeout) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	c.Publish("a/b", 1, false, "hello")
	select {
	case m := <-got:
		if m != "a/b hello" {
			t.Errorf("got %q", m)
		}
	case <-time.After(bridgetest.Timeout):
		t.Fatal("nothing arrived")
	}
}

// Who asks for MQTT 5 first is no error, and who can do nothing else finds the cure in the log.
func TestClientOfMQTT5(t *testing.T) {
	var log bytes.Buffer
	e, err := embedded.Start(t.Context(), embedded.Settings{MQTT: &embedded.MQTT{Listen: anyPort, Open: true}},
		slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c := must(net.Dial("tcp", strings.TrimPrefix(e.MQTTURL(), "mqtt://")))
	must(c.Write([]byte("\x10\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01a")))
	if answer := must(io.ReadAll(c)); string(answer) != "\x20\x02\x00\x01" {
		t.Errorf("the answer is %x", answer)
	}
	_ = c.Close()
	stop(t, e)
	if said := log.String(); !strings.Contains(said, "mosquitto for one") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the log says %s", said)
	}
}

func TestRestartKeepsStream(t *testing.T) {
	for _, durability := range []string{"power", "process"} {
		t.Run(durability, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := embedded.Settings{NATS: &embedded.NATS{Listen: anyPort, Open: true, Store: dir, Durability: durability}}
			e := start(t, s)
			js := connect(t, e.NATSURL())
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "a", []byte("kept")); err != nil {
				t.Fatal(err)
			}
			js.Conn().Close()
			stop(t, e)
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("store is %v (%v), want rwx for the owner only", info.Mode(), err)
			}

			stream, err := connect(t, start(t, s).NATSURL()).Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			if m, err := stream.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
				t.Errorf("got %v, %v", m, err)
			}
		})
	}
}

func TestE5InvalidStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The second one is fine for us and not for the server.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, store := range []string{file, dir} {
		e, err := embedded.Start(t.Context(), embedded.Settings{NATS: &embedded.NATS{
			Listen: anyPort, Open: true,
			Store: store,
		}}, nil)
		if err == nil {
			stop(t, e)
			t.Errorf("started with the store %s", store)
		}
	}
}

func TestE8StoreInUse(t *testing.T) {
	dir := t.TempDir()
	s := embedded.Settings{NATS: &embedded.NATS{Listen: anyPort, Open: true, Store: dir}}
	first := start(t, s)
	_, err := embedded.Start(t.Context(), s, nil)
	if err == nil || !strings.Contains(err.Error(), dir+" is used by process") ||
		!strings.HasSuffix(err.Error(), "as in embedded: {nats: {store: data/other}}") {
		t.Fatalf("second start with one store: %v", err)
	}
	stop(t, first)
	start(t, s)
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for name, s := range map[string]embedded.Settings{
		"mqtt": {MQTT: &embedded.MQTT{Listen: taken}, NATS: &embedded.NATS{Listen: anyPort, Open: true}},
		"nats": {MQTT: &embedded.MQTT{Listen: anyPort, Open: true}, NATS: &embedded.NATS{Listen: taken}},
	} {
		_, err := embedded.Start(t.Context(), s, nil)
		if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s on a taken port: %v", name, err)
		}
	}
}

func TestTemporaryStoreIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	stop(t, start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true},
		NATS: &embedded.NATS{Listen: anyPort, Open: true},
	}))
	left, err := fs.Glob(os.DirFS(os.TempDir()), "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestE4FullStoreStartsAgain(t *testing.T) {
	s := embedded.Settings{NATS: &embedded.NATS{
		Listen: anyPort, Open: true, Store: t.TempDir(),
		Durability: "process", MaxStore: 64 << 10,
	}}
	e := start(t, s)
	js := connect(t, e.NATSURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	stored := uint64(0)
	for {
		_, err := js.Publish(t.Context(), "a", make([]byte, 4096))
		if err != nil {
			break
		}
		if stored++; stored > 100 {
			t.Fatal("64 KiB take 400 KiB")
		}
	}
	js.Conn().Close()
	stop(t, e)

	stream, err := connect(t, start(t, s).NATSURL()).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != stored {
		t.Errorf("%d messages are there, %d were stored", got, stored)
	}
}

// selfSigned makes a certificate for loopback, and what trusts it.
func selfSigned(t *testing.T) (*bridge.Certificate, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind string, data []byte) string {
		path := filepath.Join(t.TempDir(), "file.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der)))
	return &bridge.Certificate{Cert: write("CERTIFICATE", der), Key: write("PRIVATE KEY", secret)},
		&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestTLS(t *testing.T) {
	c, trust := selfSigned(t)
	e := start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true, TLS: c},
		NATS: &embedded.NATS{Listen: anyPort, Open: true, TLS: c},
	})
	connect(t, e.NATSURL(), nats.Secure(trust))
	if _, err := mqttClient(t, e.MQTTURL(), func(o *mqtt.ClientOptions) { o.SetTLSConfig(trust) }); err != nil {
		t.Errorf("MQTT over TLS: %v", err)
	}
	if nc, err := nats.Connect(e.NATSURL()); err == nil {
		nc.Close()
		t.Error("NATS trusts a certificate that nobody vouches for")
	}
	plain := strings.Replace(e.MQTTURL(), "mqtts:", "mqtt:", 1)
	if _, err := mqttClient(t, plain, nil); err == nil || plain == e.MQTTURL() {
		t.Errorf("MQTT without TLS accepted at %s", plain)
	}
}

// S11: a renewed certificate is used from the next connection on, by every listener. While one file
// is new and the other is not, it is the old one.
func TestCertificateIsReadAgain(t *testing.T) {
	c, before := selfSigned(t)
	renewed, after := selfSigned(t)
	x := portals("127.0.0.1:0")
	x.TLS = c
	e := start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true, TLS: c},
		NATS: &embedded.NATS{Listen: anyPort, Open: true, TLS: c}, XRTC: x,
	})
	connects := func(trust *tls.Config) (got [3]bool) {
		t.Helper()
		nc, err := nats.Connect(e.NATSURL(), nats.Secure(trust), nats.Timeout(bridgetest.Timeout))
		if got[0] = err == nil; got[0] {
			nc.Close()
		}
		_, err = mqttClient(t, e.MQTTURL(), func(o *mqtt.ClientOptions) { o.SetTLSConfig(trust) })
		got[1] = err == nil
		d := tls.Dialer{Config: trust}
		conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(e.XRTCURL(), "https://"))
		if got[2] = err == nil; got[2] {
			_ = conn.Close()
		}
		return got
	}
	all, none := [3]bool{true, true, true}, [3]bool{}
	if got := connects(before); got != all {
		t.Fatalf("at first: %v", got)
	}
	for i, rename := range [][2]string{{renewed.Cert, c.Cert}, {renewed.Key, c.Key}} {
		if err := os.Rename(rename[0], rename[1]); err != nil {
			t.Fatal(err)
		}
		want, other := all, none
		if i == 1 {
			want, other = none, all
		}
		if got := connects(before); got != want {
			t.Errorf("after file %d, by the old certificate: %v, want %v", i, got, want)
		}
		if got := connects(after); got != other {
			t.Errorf("after file %d, by the new certificate: %v, want %v", i, got, other)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCanceledStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ctx, embedded.Settings{NATS: &embedded.NATS{Listen: anyPort, Open: true}},
		nil); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want canceled", err)
	}
}

func TestValidate(t *testing.T) {
	secret := bridge.NewSecret("p")
	for _, c := range []struct {
		name string
		s    embedded.Settings
		key  string // of the only error; empty: valid
	}{
		{"nothing", embedded.Settings{}, ""},
		{"loopback", embedded.Settings{
			MQTT: &embedded.MQTT{Listen: "127.0.0.1:21883"},
			NATS: &embedded.NATS{Listen: "[::1]:24222"},
		}, ""},
		{"localhost", embedded.Settings{MQTT: &embedded.MQTT{Listen: "localhost:1883"}}, ""},
		{"E10 MQTT everywhere", embedded.Settings{MQTT: &embedded.MQTT{Listen: "0.0.0.0:1883"}}, "mqtt.listen"},
		{"E10 no host is everywhere", embedded.Settings{NATS: &embedded.NATS{Listen: ":4222"}}, "nats.listen"},
		{"E10 other address", embedded.Settings{NATS: &embedded.NATS{Listen: "192.0.2.1:4222"}}, "nats.listen"},
		{"E10 host name", embedded.Settings{NATS: &embedded.NATS{Listen: "bridge.example.com:4222"}}, "nats.listen"},
		{
			"everywhere with password",
			embedded.Settings{NATS: &embedded.NATS{Listen: ":4222", Username: "u", Password: secret}},
			"",
		},
		{"MQTT by the password of NATS", embedded.Settings{
			MQTT: &embedded.MQTT{Listen: ":1883"},
			NATS: &embedded.NATS{Username: "u", Password: secret},
		}, "mqtt.listen"},
		{"MQTT everywhere with password", embedded.Settings{MQTT: &embedded.MQTT{
			Listen: ":1883", Username: "u",
			Password: secret,
		}}, ""},
		{"S31 one user for both", embedded.Settings{MQTT: &embedded.MQTT{
			Listen: anyPort, Username: "u",
			Password: secret,
		}, NATS: &embedded.NATS{Username: "u", Password: secret}}, "mqtt.username"},
		{"S31 MQTT by the name of NATS", embedded.Settings{MQTT: &embedded.MQTT{
			Listen: anyPort, Username: "nats",
			Password: secret,
		}, NATS: &embedded.NATS{Listen: anyPort}}, "mqtt.username"},
		{"S31 MQTT by any name", embedded.Settings{MQTT: &embedded.MQTT{
			Listen: anyPort, Username: "nats",
			Password: secret,
		}, NATS: &embedded.NATS{Durability: "process"}}, ""},
		{"S32 open everywhere", embedded.Settings{NATS: &embedded.NATS{Listen: ":4222", Open: true}}, "nats.listen"},
		{"S32 open with password", embedded.Settings{MQTT: &embedded.MQTT{
			Listen: anyPort, Username: "u",
			Password: secret, Open: true,
		}}, "mqtt.open"},
		{
			"password without user",
			embedded.Settings{NATS: &embedded.NATS{Listen: anyPort, Password: secret}},
			"nats.username",
		},
		{"no port", embedded.Settings{MQTT: &embedded.MQTT{Listen: "127.0.0.1"}}, "mqtt.listen"},
		{"no number", embedded.Settings{MQTT: &embedded.MQTT{Listen: "127.0.0.1:mqtt"}}, "mqtt.listen"},
		{"payload too large", embedded.Settings{NATS: &embedded.NATS{MaxPayload: 1 << 30}}, "nats.max_payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.s.Validate()
			var key *bridge.KeyError
			switch {
			case c.key == "" && err != nil:
				t.Errorf("err = %v, want none", err)
			case c.key != "" && (!errors.As(err, &key) || key.Key != c.key):
				t.Errorf("err = %v, want one about %s", err, c.key)
			}
		})
	}
}
