package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// try opens a sink and returns the error.
func try(t *testing.T, s *server.Server, set func(*nats.SinkSettings)) error {
	t.Helper()
	settings := sinkSettings(t, s, func(*nats.SinkSettings) {})
	set(settings) // not validated: files may be missing
	sink, err := nats.Connector().Sink.Open(t.Context(), settings, bridgetest.Env(t, "test-to"))
	if err == nil {
		_ = sink.Close()
	}
	return err
}

func wantAuth(t *testing.T, s *server.Server, good, bad func(*nats.SinkSettings)) {
	t.Helper()
	if err := try(t, s, good); err != nil {
		t.Errorf("right credentials: %v", err)
	}
	for _, set := range []func(*nats.SinkSettings){bad, func(*nats.SinkSettings) {}} {
		err := try(t, s, set)
		if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "check username and password, token, creds or nkey") {
			t.Errorf("wrong or no credentials: %v, want a permanent error", err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %q gives the secret away", err)
		}
	}
}

func TestUserAndPassword(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "u", "p" })
	wantAuth(t, s,
		func(s *nats.SinkSettings) { s.Username, s.Password = "u", bridge.NewSecret("p") },
		func(s *nats.SinkSettings) { s.Username, s.Password = "u", bridge.NewSecret("hunter2") })
	wantAuth(t, s,
		func(n *nats.SinkSettings) { n.URL = url(t, "nats://u:p@"+s.Addr().String()) },
		func(n *nats.SinkSettings) { n.URL = url(t, "nats://u:hunter2@"+s.Addr().String()) })
}

func TestPasswordWithAComma(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "u", "p,q" })
	wantAuth(t, s,
		func(n *nats.SinkSettings) { n.URL = url(t, "nats://u:p,q@"+s.Addr().String()) },
		func(n *nats.SinkSettings) { n.URL = url(t, "nats://u:hunter2,q@"+s.Addr().String()) })
}

func TestToken(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.Authorization = "token" })
	wantAuth(t, s,
		func(s *nats.SinkSettings) { s.Token = bridge.NewSecret("token") },
		func(s *nats.SinkSettings) { s.Token = bridge.NewSecret("hunter2") })
}

// seedFile makes a user key and writes its seed to a file.
func seedFile(t *testing.T) (public, path string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ = key.PublicKey()
	seed, _ := key.Seed()
	return public, write(t, "seed", seed)
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNKey(t *testing.T) {
	public, good := seedFile(t)
	_, bad := seedFile(t)
	s := natstest.Start(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	wantAuth(t, s, func(s *nats.SinkSettings) { s.NKey = good }, func(s *nats.SinkSettings) { s.NKey = bad })
	err := try(t, s, func(s *nats.SinkSettings) { s.NKey = good + ".missing" })
	if err == nil || !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "read nkey") {
		t.Errorf("missing file: %v, want a permanent error", err)
	}
}

// credsFile makes an account's user and writes its credentials file.
func credsFile(t *testing.T, account nkeys.KeyPair) string {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := key.PublicKey()
	token, err := jwt.NewUserClaims(public).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := key.Seed()
	creds, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "user.creds", creds)
}

func TestCreds(t *testing.T) {
	operator, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	operatorKey, _ := operator.PublicKey()
	claims := jwt.NewOperatorClaims(operatorKey)
	account, _ := nkeys.CreateAccount()
	accountKey, _ := account.PublicKey()
	accountToken, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountKey, accountToken); err != nil {
		t.Fatal(err)
	}
	stranger, _ := nkeys.CreateAccount()
	s := natstest.Start(t, func(o *server.Options) {
		o.JetStream = false
		o.TrustedOperators = []*jwt.OperatorClaims{claims}
		o.AccountResolver = resolver
	})
	good, bad := credsFile(t, account), credsFile(t, stranger)
	wantAuth(t, s, func(s *nats.SinkSettings) { s.Creds = good }, func(s *nats.SinkSettings) { s.Creds = bad })
	err = try(t, s, func(s *nats.SinkSettings) { s.Creds = good + ".missing" })
	if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "read creds") ||
		!strings.Contains(err.Error(), ".missing") {
		t.Errorf("missing file: %v, want a permanent error", err)
	}
}

// What needs no network is found when the settings are checked.
func TestFilesAreChecked(t *testing.T) {
	_, seed := seedFile(t)
	text := write(t, "text", []byte("text"))
	for want, set := range map[string]func(*nats.SinkSettings){
		"creds: ":  func(s *nats.SinkSettings) { s.Creds = seed + ".missing" },
		"creds: u": func(s *nats.SinkSettings) { s.Creds = text },
		"nkey: ":   func(s *nats.SinkSettings) { s.NKey = seed + ".missing" },
		"nkey: n":  func(s *nats.SinkSettings) { s.NKey = text },
		"":         func(s *nats.SinkSettings) { s.NKey = seed },
	} {
		settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
		set(settings)
		err := settings.Settings.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("err = %v, want %q…", err, want)
		}
	}
}

func TestUnknownHostAndNoServerMayPass(t *testing.T) {
	for _, address := range []string{"nats://nowhere.invalid:4222", "nats://" + bridgetest.FreeAddr(t)} {
		settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
		settings.URL, settings.Subject = url(t, address), bridge.Text("a")
		if _, err := nats.Connector().Sink.Open(t.Context(), settings, bridgetest.Env(t, "test-to")); err == nil ||
			bridge.IsPermanent(err) {
			t.Errorf("%s: err = %v, want one that may pass", address, err)
		}
	}
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pair, err = tls.X509KeyPair(cert, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", cert), write(t, "key.pem", keyPEM), pair
}

func TestS11TLS(t *testing.T) {
	certFile, keyFile, pair := certificate(t)
	otherFile, _, _ := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(mustParse(t, pair))
	s := natstest.Start(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
			ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		}
		o.TLS, o.TLSVerify, o.TLSTimeout = true, true, bridgetest.Timeout.Seconds()
	})
	own := bridge.TLS{CA: certFile, Cert: certFile, Key: keyFile}
	for _, c := range []struct {
		name   string
		scheme string
		tls    bridge.TLS
		ok     bool
	}{
		{"right", "tls", own, true},
		{"right by nats://", "nats", own, true},
		{"system's authorities", "tls", bridge.TLS{Cert: certFile, Key: keyFile}, false},
		{"other authority", "tls", bridge.TLS{CA: otherFile, Cert: certFile, Key: keyFile}, false},
		{"other name", "tls", bridge.TLS{CA: certFile, Cert: certFile, Key: keyFile, Name: "example.com"}, false},
		{"no client certificate", "tls", bridge.TLS{CA: certFile}, false},
		{"anything goes", "tls", bridge.TLS{CA: otherFile, Cert: certFile, Key: keyFile, Insecure: true}, true},
		{"missing file", "tls", bridge.TLS{CA: certFile + ".missing"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := try(t, s, func(n *nats.SinkSettings) {
				n.URL, n.TLS = url(t, c.scheme+"://"+s.Addr().String()), c.tls
			})
			if c.ok != (err == nil) {
				t.Errorf("err = %v, want success: %t", err, c.ok)
			}
			if missing := c.name == "missing file"; missing != bridge.IsPermanent(err) {
				t.Errorf("err = %v, want a permanent one: %t", err, missing)
			}
		})
	}
}

func TestS11PlainServerIsNoTLSServer(t *testing.T) {
	s := natstest.Start(t, nil)
	for _, set := range []func(*nats.SinkSettings){
		func(n *nats.SinkSettings) { n.URL = url(t, "tls://"+s.Addr().String()) },
		func(n *nats.SinkSettings) { n.TLS.Insecure = true },
	} {
		if err := try(t, s, set); !bridge.IsPermanent(err) {
			t.Errorf("err = %v, want a permanent one since there is no TLS", err)
		}
	}
}

func mustParse(t *testing.T, pair tls.Certificate) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}
