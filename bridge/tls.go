package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is the client side of TLS in settings, the same for every connector.
// The zero value means: TLS as the URL's scheme says, the system's root certificates,
// version 1.2 or later.
type TLS struct {
	CA       string `yaml:"ca"`       // PEM file of certificates to trust instead of the system's
	Cert     string `yaml:"cert"`     // PEM file of the client certificate
	Key      string `yaml:"key"`      // PEM file of its key
	Name     string `yaml:"name"`     // server name to verify, if it is not the URL's host
	Insecure bool   `yaml:"insecure"` // accept any certificate: for trying out only
}

// Validate checks that cert and key come together.
func (t TLS) Validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return &KeyError{Key: "cert", Err: fmt.Errorf("cert and key go together: set both or neither")}
	}
	return nil
}

// Config reads the files and returns the configuration for crypto/tls.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, InsecureSkipVerify: t.Insecure}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca: no PEM certificate in %s", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert and tls.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
