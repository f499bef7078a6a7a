package embedded

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is the running servers. A Server that runs nothing is valid.
type Server struct {
	settings Settings
	nats     *server.Server // nil if there is nothing to run
	options  *server.Options
	store    *store
	portals  *Portals // nil if there is none
	stopped  chan struct{}
	evicting sync.WaitGroup
	close    func() error
}

// Start starts the servers that s names, and returns when a client can use
// them and the store has been written to and read. ctx covers the start only.
// s must be valid.
func Start(ctx context.Context, s Settings, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Server{settings: s, stopped: make(chan struct{})}
	e.close = sync.OnceValue(e.stop)
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := e.startNATS(ctx, log); err != nil {
		return nil, err
	}
	if s.XRTC != nil {
		var err error
		if e.portals, err = StartPortals(ctx, *s.XRTC, log); err != nil {
			return nil, errors.Join(err, e.Close())
		}
		log.Info("portal server started", "xrtc", e.portals.URL())
	}
	return e, nil
}

// startNATS starts the NATS server and the MQTT broker, if one of them is wanted.
func (e *Server) startNATS(ctx context.Context, log *slog.Logger) error {
	s := e.settings
	if s.MQTT == nil && s.NATS == nil {
		return nil
	}
	n := NATS{}
	if s.NATS != nil {
		n = *s.NATS
	}
	var err error
	if e.store, err = openStore(n.place(), n.Visitor); err != nil {
		return err
	}
	e.store.distrust(log)
	if s.Passwords.Path == "" {
		s.Passwords.Path = e.store.dir
	}
	if e.settings, err = s.withPasswords(ctx, true); err == nil {
		err = e.start(ctx, log)
	}
	if err != nil {
		return errors.Join(err, e.Close())
	}
	log = log.With("store", e.store.dir, "temporary", e.store.temporary)
	if s.MQTT == nil && n.Listen == "" {
		log.Debug("store opened") // nobody but this process can reach it
		return nil
	}
	if url := e.NATSURL(); url != "" {
		log = log.With("nats", url)
	}
	if url := e.MQTTURL(); url != "" {
		log = log.With("mqtt", url)
	}
	for _, entry := range s.Entries() {
		switch {
		case entry.Open:
			log.Warn("every user of this machine gets into a server that is open: without open, a password is made for it",
				"server", entry.Server)
		case entry.Made:
			log = log.With(entry.Server+"_password", entry.File)
		}
	}
	log.Info("embedded servers started")
	return nil
}

func (e *Server) start(ctx context.Context, log *slog.Logger) error {
	n := *e.settings.NATS
	var err error
	if e.options, err = e.serverOptions(n, log); err != nil {
		return err
	}
	if e.nats, err = server.NewServer(e.options); err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	logger := newLogger(log, strings.NewReplacer(e.store.folder.Path(), e.store.dir))
	e.nats.SetLogger(logger, false, false)
	if err := ctx.Err(); err != nil {
		return err
	}
	e.nats.Start()
	if err := logger.startError(); err != nil {
		return explain(err)
	}
	if !e.nats.ReadyForConnections(10 * time.Second) {
		return errors.New("start embedded server: not ready after 10s")
	}
	if n.Listen != "" || e.settings.MQTT != nil {
		e.evicting.Go(func() { e.evictStrangers(e.stopped) })
	}
	return e.probe(ctx, n, log)
}

// explain adds what to do about it to an error of the server's start.
func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("start embedded server: %w: stop what listens there, or choose another listen address", err)
	}
	return fmt.Errorf("start embedded server: %w", err)
}

func (e *Server) serverOptions(n NATS, log *slog.Logger) (*server.Options, error) {
	o := &server.Options{
		ServerName:             "xrtcbridge",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		JetStream:              true,
		StoreDir:               e.store.folder.Path(),
		SyncAlways:             n.Durability != "process",
		JetStreamMaxStore:      e.store.limit(cmp.Or(int64(n.MaxStore), defaultMaxStore), int64(n.Reserve)),
		JetStreamMaxMemory:     64 << 20,
		DisableJetStreamBanner: true,
		MaxPayload:             int32(cmp.Or(int64(n.MaxPayload), defaultMaxPayload)),
		MaxPending:             mostMaxPayload,
		MaxConn:                mostConns,
		WriteDeadline:          10 * time.Second,
		PingInterval:           20 * time.Second,
		MaxPingsOut:            2,
		AuthTimeout:            11, // seconds, those of TLS included
	}
	e.settings.users(o)
	if n.Listen != "" {
		o.DontListen = false
		o.Host, o.Port = hostPort(n.Listen)
	}
	var err error
	if o.TLSConfig, err = n.TLS.Config(log); err != nil {
		return nil, fmt.Errorf("read embedded.nats.tls: %w", err)
	}
	o.TLS, o.TLSTimeout = o.TLSConfig != nil, 10
	if m := e.settings.MQTT; m != nil {
		o.MQTT.Host, o.MQTT.Port = hostPort(m.Listen)
		o.MQTT.TLSTimeout, o.MQTT.MaxAckPending = 10, mostUnacked
		if n.Listen == "" { // else there may be clients of JetStream, which fetch more than that at once
			o.MaxPending = max(leastPending, 2*int64(o.MaxPayload))
		}
		if o.MQTT.TLSConfig, err = m.TLS.Config(log); err != nil {
			return nil, fmt.Errorf("read embedded.mqtt.tls: %w", err)
		}
	}
	return o, nil
}

// hostPort splits a valid address the way the server wants it: -1 is any free port.
func hostPort(address string) (string, int) {
	host, port, _ := splitAddress(address)
	if host == "" {
		host = "0.0.0.0"
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port
}

// NATSURL is the address for NATS clients, or empty.
func (e *Server) NATSURL() string {
	if e.nats == nil || e.settings.NATS.Listen == "" {
		return ""
	}
	return address("nats", "tls", e.options.TLSConfig, e.options.Host, e.options.Port)
}

// MQTTURL is the address for MQTT clients, or empty.
func (e *Server) MQTTURL() string {
	if e.nats == nil || e.settings.MQTT == nil {
		return ""
	}
	return address("mqtt", "mqtts", e.options.MQTT.TLSConfig, e.options.MQTT.Host, e.options.MQTT.Port)
}

// InProcessConn returns a connection to the NATS server that needs no listener, for
// [nats.InProcessServer].
func (e *Server) InProcessConn() (net.Conn, error) {
	if e.nats == nil {
		return nil, errors.New("no NATS server runs here")
	}
	return e.nats.InProcessConn()
}

func address(plain, secure string, c *tls.Config, host string, port int) string {
	scheme := plain
	if c != nil {
		scheme = secure
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// XRTCURL is the base URL for portal clients, or empty.
func (e *Server) XRTCURL() string {
	if e.portals == nil {
		return ""
	}
	return e.portals.URL()
}

// Close stops the servers and frees the store. Clients should be gone by then.
// It may be called more than once.
func (e *Server) Close() error { return e.close() }

func (e *Server) stop() error {
	var errs []error
	close(e.stopped)
	e.evicting.Wait()
	if e.portals != nil {
		errs = append(errs, e.portals.Close())
	}
	if e.nats != nil {
		e.nats.Shutdown()
		e.nats.WaitForShutdown()
	}
	if e.store != nil {
		errs = append(errs, e.store.close())
	}
	return errors.Join(errs...)
}
