package bridge

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate makes a listener speak TLS. The files are read again when they change.
type Certificate struct {
	Cert string `yaml:"cert,required,path" doc:"PEM file of the certificate"`
	Key  string `yaml:"key,required,path" doc:"PEM file of its key"`
}

// Config reads the files and returns the configuration of a listener, nil for none.
func (c *Certificate) Config(log *slog.Logger) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	r := &renewed{Certificate: *c, log: log.With("cert", c.Cert, "key", c.Key)}
	if _, err := r.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.get}, nil
}

// renewed is a certificate as it stands in its files.
type renewed struct {
	Certificate
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	pair *tls.Certificate
	seen [2]stamp // of the files when they were read last
}

// stamp tells one content of a file from another.
type stamp struct {
	time time.Time
	size int64
}

// get returns the certificate for a handshake. While the files are no certificate and its key,
// since one is written after the other, it is the one from before.
func (r *renewed) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var now [2]stamp
	for i, name := range []string{r.Cert, r.Key} {
		if info, err := os.Stat(name); err == nil {
			now[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	if now == r.seen && r.pair != nil {
		return r.pair, nil
	}
	r.seen = now
	pair, err := r.load()
	switch {
	case err != nil && r.pair == nil:
		return nil, err
	case err != nil:
		r.log.Warn("the new certificate cannot be used, going on with the one from before", "err", err)
		return r.pair, nil
	case r.pair != nil:
		r.log.Info("the certificate has changed, and was read again")
	}
	r.pair = &pair
	return r.pair, nil
}

func (c *Certificate) load() (pair tls.Certificate, err error) {
	cert, err := ReadRegular(c.Cert, mostPEM)
	if err != nil {
		return pair, err
	}
	key, err := ReadRegular(c.Key, mostPEM)
	if err != nil {
		return pair, err
	}
	return tls.X509KeyPair(cert, key)
}
