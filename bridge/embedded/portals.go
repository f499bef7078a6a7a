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
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// XRTC is the portal server.
type XRTC struct {
	Listen   string                     `yaml:"listen,short" doc:"host:port; localhost means both loopback families; empty: localhost:28080"`
	Hosts    []string                   `yaml:"hosts" doc:"names, beside localhost, in the Host of requests that come over loopback, as from a proxy"`
	Profile  string                     `yaml:"profile" enum:"open|public" doc:"limits: none to speak of, or those of the public service"`
	Accounts map[string][]bridge.Secret `yaml:"accounts" doc:"account id to keys, in the clear or sha256:…"`
	Limits   PortalLimits               `yaml:"limits" doc:"change single limits of the profile"`
	TLS      *bridge.Certificate        `yaml:"tls" doc:"its certificate; without it there is no TLS"`

	Registration *Registration `yaml:"registration" doc:"accounts by mail; without it there is none"`
}

// DefaultPortalListen is where the portal server listens unless told otherwise.
const DefaultPortalListen = "localhost:28080"

// PortalLimits change limits of a profile. What is nil stays; see [server.Limits].
type PortalLimits struct {
	APIKeyCountMax    *int           `yaml:"api_key_count_max" doc:"keys of an account"`
	APIKeyAgeMax      *time.Duration `yaml:"api_key_age_max" doc:"after which a key is of no use; 0s: never"`
	PortalsCountMax   *int           `yaml:"portals_count_max" doc:"portals of an account"`
	ItemAgeMax        *time.Duration `yaml:"item_age_max" doc:"how long an item is kept"`
	ItemCountMax      *int           `yaml:"item_count_max" doc:"items of a request"`
	RingCapacity      *int           `yaml:"ring_capacity" doc:"items that a portal keeps"`
	PayloadSizeMax    *bridge.Size   `yaml:"payload_size_max" doc:"bytes of a payload"`
	GetItemTimeout    *time.Duration `yaml:"get_item_timeout" doc:"longest that a request waits for items"`
	LoginTimeout      *time.Duration `yaml:"login_timeout" doc:"after a failed login; 0s: none"`
	SessionIdle       *time.Duration `yaml:"session_idle" doc:"after which a session ends"`
	RequestsPerSecond *int           `yaml:"requests_per_second" doc:"most of them; 0: no limit"`
	RequestsPerMonth  *int           `yaml:"requests_per_month" doc:"most of them; 0: no limit"`
	AccountMemory     *bridge.Size   `yaml:"account_memory" doc:"bytes that an account takes; then its oldest items go, and more requests at a time are refused"`
	Connections       *int           `yaml:"connections" doc:"open at once"`
	ConnectionsEach   *int           `yaml:"connections_per_address" doc:"most of them, but for this machine's own; 0: no limit"`
}

// Validate checks address, accounts and limits.
func (x *XRTC) Validate() error {
	var errs []error
	if x.Listen != "" {
		if _, _, err := splitAddress(x.Listen); err != nil {
			errs = append(errs, &bridge.KeyError{Key: "listen", Err: err})
		}
	}
	for _, name := range x.Hosts {
		if name == "" || strings.ContainsAny(name, ":/*@ ") {
			errs = append(errs, bridge.KeyErrorf("hosts",
				"%q is not a host name, which looks like portals.example.com, without port", name))
		}
	}
	if len(x.Accounts) == 0 && x.Registration == nil {
		errs = append(errs, bridge.KeyErrorf("accounts", "there is no account; xrtcbridge server keys new makes one"))
	}
	for _, id := range slices.Sorted(maps.Keys(x.Accounts)) {
		if err := server.CheckAccountID(id); err != nil {
			errs = append(errs, bridge.KeyErrorf("accounts."+id, "%w", err))
		}
		if len(x.Accounts[id]) == 0 {
			errs = append(errs, bridge.KeyErrorf("accounts."+id, "the account has no key"))
		}
		for _, k := range x.Accounts[id] {
			if _, err := server.ParseKey(k.Reveal()); err != nil {
				errs = append(errs, bridge.KeyErrorf("accounts."+id, "%w", err))
			}
		}
	}
	if err := x.config().Limits.Check(); err != nil {
		errs = append(errs, bridge.KeyErrorf("limits", "%w", err))
	}
	return errors.Join(errs...)
}

// config returns what the settings say. Keys must be valid.
func (x *XRTC) config() server.Config {
	c := server.Config{Limits: server.Open(), Hosts: slices.Clone(x.Hosts)}
	if host, _, err := splitAddress(x.Listen); err == nil {
		c.Hosts = append(c.Hosts, host)
	}
	if name, err := os.Hostname(); err == nil {
		c.Hosts = append(c.Hosts, name)
	}
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

// apply sets what is not nil in the field of the same name.
func (p *PortalLimits) apply(l *server.Limits) {
	from, to := reflect.ValueOf(p).Elem(), reflect.ValueOf(l).Elem()
	for i := range from.NumField() {
		if v := from.Field(i); !v.IsNil() {
			field := to.FieldByName(from.Type().Field(i).Name)
			field.Set(v.Elem().Convert(field.Type()))
		}
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

// StartPortals starts a portal server and returns when it can be used. x must be valid. ctx covers
// the start only.
func StartPortals(ctx context.Context, x XRTC, log *slog.Logger) (*Portals, error) {
	if err := errors.Join(ctx.Err(), x.Validate()); err != nil {
		return nil, err
	}
	log = log.With("server", "xrtc")
	secure, err := x.TLS.Config(log)
	if err != nil {
		return nil, fmt.Errorf("read embedded.xrtc.tls: %w", err)
	}
	c := x.config()
	c.Logger = log
	if err := x.Registration.apply(&c, log); err != nil {
		return nil, fmt.Errorf("embedded.xrtc.registration: %w", err)
	}
	address := cmp.Or(x.Listen, DefaultPortalListen)
	p := new(Portals)
	if p.listeners, err = listen(ctx, address); err != nil {
		return nil, explain(err)
	}
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
		log.WarnContext(ctx, "the portal server can be reached from other machines without TLS: "+
			"keys and items go over the network in the clear", "listen", address)
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

// listen listens at an address; localhost is both loopback families, as far as the machine has
// them.
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
