package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// TLS is the client side of TLS in settings, the same for every connector.
// The zero value means: TLS as the URL's scheme says, the system's root certificates,
// version 1.2 or later.
type TLS struct {
	CA       string `yaml:"ca,content" doc:"PEM file of certificates to trust instead of the system's"`
	Cert     string `yaml:"cert,content" doc:"PEM file of the client certificate"`
	Key      string `yaml:"key,content" doc:"PEM file of its key"`
	Name     string `yaml:"name" doc:"server name to verify, if it is not the URL's host"`
	Insecure bool   `yaml:"insecure" doc:"accept any certificate: for trying out only"`
}

// Validate checks that cert and key come together, and that the files can be used.
func (t TLS) Validate() error {
	_, err := t.load()
	return err
}

// Config reads the files and returns the configuration for crypto/tls. An error is permanent.
func (t TLS) Config() (*tls.Config, error) {
	c, err := t.load()
	if err != nil {
		return nil, Permanent(fmt.Errorf("tls.%w", err))
	}
	return c, nil
}

// load fails with a KeyError.
func (t TLS) load() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, InsecureSkipVerify: t.Insecure}
	if t.CA != "" {
		pem, err := ReadRegular(t.CA, mostPEM)
		if err != nil {
			return nil, &KeyError{Key: "ca", Err: err}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &KeyError{Key: "ca", Err: fmt.Errorf("there is no certificate in %s, which must be a PEM file", t.CA)}
		}
	}
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return nil, &KeyError{Key: "cert", Err: errors.New("cert and key go together: set both or neither")}
	case t.Cert != "":
		return c, t.loadPair(c)
	}
	return c, nil
}

// mostPEM is more bytes than a PEM file has.
const mostPEM = 16 << 20

func (t TLS) loadPair(c *tls.Config) error {
	cert, err := ReadRegular(t.Cert, mostPEM)
	if err != nil {
		return &KeyError{Key: "cert", Err: err}
	}
	key, err := ReadRegular(t.Key, mostPEM)
	if err != nil {
		return &KeyError{Key: "key", Err: err}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return &KeyError{Key: "cert", Err: fmt.Errorf("%s and %s are not a certificate and its key: %w", t.Cert, t.Key, err)}
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}
