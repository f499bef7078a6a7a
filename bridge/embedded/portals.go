package embedded

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// XRTC is the portal server.
type XRTC struct {
	Listen   string                     `yaml:"listen,short"` // host:port; localhost means both loopback families; empty: localhost:28080
	Profile  string                     `yaml:"profile" enum:"open|public"`
	Accounts map[string][]bridge.Secret `yaml:"accounts"` // account id to keys, in the clear or sha256:…
	Limits   PortalLimits               `yaml:"limits"`   // change single limits of the profile
	TLS      *Certificate               `yaml:"tls"`
}

// DefaultPortalListen is where the portal server listens unless told otherwise.
const DefaultPortalListen = "localhost:28080"

// PortalLimits change limits of a profile. What is nil stays; see [server.Limits].
type PortalLimits struct {
	APIKeyCountMax    *int           `yaml:"api_key_count_max"`
	APIKeyAgeMax      *time.Duration `yaml:"api_key_age_max"` // 0s: never
	PortalsCountMax   *int           `yaml:"portals_count_max"`
	ItemAgeMax        *time.Duration `yaml:"item_age_max"`
	ItemCountMax      *int           `yaml:"item_count_max"`
	RingCapacity      *int           `yaml:"ring_capacity"`
	PayloadSizeMax    *bridge.Size   `yaml:"payload_size_max"`
	GetItemTimeout    *time.Duration `yaml:"get_item_timeout"`
	LoginTimeout      *time.Duration `yaml:"login_timeout"` // 0s: none
	SessionIdle       *time.Duration `yaml:"session_idle"`
	RequestsPerSecond *int           `yaml:"requests_per_second"` // 0: no limit
	RequestsPerMonth  *int           `yaml:"requests_per_month"`  // 0: no limit
	AccountMemory     *bridge.Size   `yaml:"account_memory"`
	Connections       *int           `yaml:"connections"`
}

// Validate checks address, accounts and limits.
func (x *XRTC) Validate() error {
	var errs []error
	if x.Listen != "" {
		if _, _, err := splitAddress(x.Listen); err != nil {
			errs = append(errs, &bridge.KeyError{Key: "listen", Err: err})
		}
	}
	if len(x.Accounts) == 0 {
		errs = append(errs, keyError("accounts", "there is no account; xrtcbridge server keys new makes one"))
	}
	for _, id := range slices.Sorted(maps.Keys(x.Accounts)) {
		if err := server.CheckAccountID(id); err != nil {
			errs = append(errs, keyError("accounts."+id, "%w", err))
		}
		if len(x.Accounts[id]) == 0 {
			errs = append(errs, keyError("accounts."+id, "the account has no key"))
		}
		for _, k := range x.Accounts[id] {
			if _, err := server.ParseKey(k.Reveal()); err != nil {
				errs = append(errs, keyError("accounts."+id, "%w", err))
			}
		}
	}
	if err := x.config().Limits.Check(); err != nil {
		errs = append(errs, keyError("limits", "%w", err))
	}
	return errors.Join(errs...)
}

// config returns what the settings say. Keys must be valid.
func (x *XRTC) config() server.Config {
	c := server.Config{Limits: server.Open()}
	if x.Profile == "public" {
		c.Limits = server.Public()
	}
	x.Limits.apply(&c.Limits)
	for _, id := range slices.Sorted(maps.Keys(x.Accounts)) {
		a := server.Account{ID: id}
		for _, k := range x.Accounts[id] {
			key, _ := server.ParseKey(k.Reveal())
			a.Keys = append(a.Keys, key)
		}
		c.Accounts = append(c.Accounts, a)
	}
	return c
}

func (p *PortalLimits) apply(l *server.Limits) {
	set(&l.APIKeyCountMax, p.APIKeyCountMax)
	set(&l.APIKeyAgeMax, p.APIKeyAgeMax)
	set(&l.PortalsCountMax, p.PortalsCountMax)
	set(&l.ItemAgeMax, p.ItemAgeMax)
	set(&l.ItemCountMax, p.ItemCountMax)
	set(&l.RingCapacity, p.RingCapacity)
	set(&l.GetItemTimeout, p.GetItemTimeout)
	set(&l.LoginTimeout, p.LoginTimeout)
	set(&l.SessionIdle, p.SessionIdle)
	set(&l.RequestsPerSecond, p.RequestsPerSecond)
	set(&l.RequestsPerMonth, p.RequestsPerMonth)
	set(&l.Connections, p.Connections)
	if p.PayloadSizeMax != nil {
		l.PayloadSizeMax = int(*p.PayloadSizeMax)
	}
	if p.AccountMemory != nil {
		l.AccountMemory = int(*p.AccountMemory)
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Portals is a running portal server.
type Portals struct {
	server    *server.Server
	listeners []net.Listener
	base      string
	serving   sync.WaitGroup
	close     func() error
}

// StartPortals starts a portal server and returns when it can be used. x must be valid. ctx covers the start only.
func StartPortals(ctx context.Context, x XRTC, log *slog.Logger) (*Portals, error) {
	if err := errors.Join(ctx.Err(), x.Validate()); err != nil {
		return nil, err
	}
	secure, err := x.TLS.config("xrtc")
	if err != nil {
		return nil, err
	}
	address := cmp.Or(x.Listen, DefaultPortalListen)
	p := new(Portals)
	if p.listeners, err = listen(ctx, address); err != nil {
		return nil, explain(err)
	}
	c := x.config()
	c.Logger = log.With("server", "xrtc")
	if p.server, err = server.New(c); err != nil {
		return nil, errors.Join(err, p.closeListeners())
	}
	host, _, _ := splitAddress(address)
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	p.base = scheme + "://" + net.JoinHostPort(hostName(host), strconv.Itoa(p.listeners[0].Addr().(*net.TCPAddr).Port))
	if secure == nil && !isLoopback(host) {
		log.WarnContext(ctx, "the portal server can be reached from other machines without TLS: keys and items go over the network in the clear", "listen", address)
	}
	p.close = sync.OnceValue(p.stop)
	for _, l := range p.listeners {
		if secure != nil {
			l = tls.NewListener(l, secure)
		}
		p.serving.Go(func() {
			if err := p.server.Serve(l); err != nil {
				log.Error("portal server", "err", err)
			}
		})
	}
	return p, nil
}

// listen listens at an address; localhost is both loopback families, as far as the machine has them.
func listen(ctx context.Context, address string) ([]net.Listener, error) {
	host, port, _ := splitAddress(address)
	var lc net.ListenConfig
	if host != "localhost" {
		l, err := lc.Listen(ctx, "tcp", address)
		return []net.Listener{l}, err
	}
	for try := 0; ; try++ {
		four, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		chosen := four.Addr().(*net.TCPAddr).Port
		six, err := lc.Listen(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(chosen)))
		switch {
		case err == nil:
			return []net.Listener{four, six}, nil
		case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT):
			return []net.Listener{four}, nil
		}
		_ = four.Close()
		if port != 0 || try == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

// hostName returns a name for the host, since some clients take no cookies from bare addresses.
func hostName(host string) string {
	ip := net.ParseIP(host)
	switch {
	case isLoopback(host):
		return "localhost"
	case host == "" || ip != nil && ip.IsUnspecified():
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return host
}

// URL is the base of the server's URLs.
func (p *Portals) URL() string { return p.base }

// Close ends streams as their time-out would, and then the server. It may be called more than once.
func (p *Portals) Close() error { return p.close() }

// closeTimeout is how long requests have to end.
const closeTimeout = 5 * time.Second

func (p *Portals) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("stop portal server: %w", err)
	}
	err = errors.Join(err, p.server.Close())
	p.serving.Wait()
	return err
}

func (p *Portals) closeListeners() error {
	var errs []error
	for _, l := range p.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
