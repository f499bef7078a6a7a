package mqtt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// roundTrip sends a few messages through the broker, by sink and source.
func roundTrip(t *testing.T, in *mqtt.SourceSettings, out *mqtt.SinkSettings) {
	t.Helper()
	s := openSource(t, in)
	want := bridgetest.Numbered(300)
	want[7].Payload = []byte(strings.Repeat("x", 20_000))
	write(t, openSink(t, out), want)
	if got := read(t, s, len(want)); payloads(got) != payloads(want) {
		t.Error("messages arrived different or in another order")
	}
}

func TestWebsocket(t *testing.T) {
	t.Parallel()
	address := bridgetest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(address)
	bridgetest.StartMosquitto(t, "listener "+port+" 127.0.0.1", "protocol websockets")
	for qos := range 3 {
		roundTrip(t, sourceSettings(t, "ws://"+address+"/mqtt", qos, bridgetest.Topic),
			sinkSettings(t, "ws://"+address+"/mqtt", qos))
	}
}

func TestTLS(t *testing.T) {
	ca, stranger := authority(t), authority(t)
	cert, key := ca.issue(t)
	secure := []string{"cafile " + ca.path, "certfile " + cert, "keyfile " + key}
	address, web := bridgetest.FreeAddr(t), bridgetest.FreeAddr(t)
	var conf []string
	for i, a := range []string{address, web} {
		_, port, _ := net.SplitHostPort(a)
		conf = append(conf, "listener "+port+" 127.0.0.1")
		conf = append(conf, secure...)
		conf = append(conf, "require_certificate true")
		if i == 1 {
			conf = append(conf, "protocol websockets")
		}
	}
	bridgetest.StartMosquitto(t, conf...)
	clientCert, clientKey := ca.issue(t)
	good := bridge.TLS{CA: ca.path, Cert: clientCert, Key: clientKey}
	for _, url := range []string{"mqtts://" + address, "wss://" + web} {
		in, out := sourceSettings(t, url, 1, bridgetest.Topic), sinkSettings(t, url, 1)
		in.TLS, out.TLS = good, good
		roundTrip(t, in, out)
		for name, bad := range map[string]bridge.TLS{
			"wrong CA":       {CA: stranger.path, Cert: clientCert, Key: clientKey},
			"system's CAs":   {Cert: clientCert, Key: clientKey},
			"wrong name":     {CA: ca.path, Cert: clientCert, Key: clientKey, Name: "elsewhere.example"},
			"no certificate": {CA: ca.path},
			"missing file":   {CA: ca.path + ".not"},
		} {
			out.TLS = bad
			s, err := mqtt.Connector().Sink.Open(t.Context(), out, bridgetest.Env(t, "test-to"))
			if err == nil {
				closed(t, s.Close())
				t.Errorf("%s, %s: connected", url, name)
			}
			if missing := name == "missing file"; bridge.IsPermanent(err) != missing {
				t.Errorf("%s, %s: got %v (permanent: %t), want permanent: %t", url, name, err, !missing, missing)
			}
		}
	}
}

func TestF05UserAndPassword(t *testing.T) {
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command(bridgetest.Program(t, "mosquitto_passwd"), "-b", "-c", passwords, "ann",
		"secret").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	broker := bridgetest.StartMosquitto(t, "allow_anonymous false", "password_file "+passwords)
	open := func(url, user, password string) error {
		set := sinkSettings(t, url, 1)
		set.Username, set.Password = user, bridge.NewSecret(password)
		s, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
		if err == nil {
			closed(t, s.Close())
		}
		return err
	}
	withUser := strings.Replace(broker.URL, "://", "://ann:secret@", 1)
	if err := open(broker.URL, "ann", "secret"); err != nil {
		t.Errorf("keys: %v", err)
	}
	if err := open(withUser, "", ""); err != nil {
		t.Errorf("URL: %v", err)
	}
	for _, err := range []error{
		open(broker.URL, "", ""), open(broker.URL, "ann", "wrong-one"),
		open(withUser, "", "wrong-one"),
	} {
		if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "check username") ||
			strings.Contains(err.Error(), "wrong-one") {
			t.Errorf("got %v, want a permanent refusal that keeps the secret", err)
		}
	}
}

// ca is a certificate authority of a test.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string
}

func authority(t *testing.T) *ca {
	t.Helper()
	c := &ca{path: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, c.path, "CERTIFICATE", der)
	return c
}

// issue makes a certificate for 127.0.0.1, for servers and clients.
func (c *ca) issue(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	k := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.cert, &k.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "PRIVATE KEY", private)
	return cert, key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
