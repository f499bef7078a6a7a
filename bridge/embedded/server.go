package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
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
	close    func() error
}

// Start starts the servers that s names, and returns when a client can use
// them and the store has been written to and read. ctx covers the start only.
// s must be valid.
func Start(ctx context.Context, s Settings, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Server{settings: s}
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
	if e.store, err = openStore(n.Store, n.Visitor); err != nil {
		return err
	}
	if err := e.start(ctx, n, log); err != nil {
		return errors.Join(err, e.Close())
	}
	log = log.With("store", e.store.dir, "temporary", e.store.temporary)
	if s.MQTT == nil && s.NATS.Listen == "" {
		log.Debug("store opened") // nobody but this process can reach it
		return nil
	}
	if s.NATS != nil {
		log = log.With("nats", e.NATSURL())
	}
	if s.MQTT != nil {
		log = log.With("mqtt", e.MQTTURL())
	}
	log.Info("embedded servers started")
	return nil
}

func (e *Server) start(ctx context.Context, n NATS, log *slog.Logger) error {
	var err error
	if e.options, err = e.serverOptions(n); err != nil {
		return err
	}
	if e.nats, err = server.NewServer(e.options); err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	logger := &logger{log: log}
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
	return e.probe(ctx, n, log)
}

// explain adds what to do about it to an error of the server's start.
func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("start embedded server: %w: stop what listens there, or choose another listen address", err)
	}
	return fmt.Errorf("start embedded server: %w", err)
}

func (e *Server) serverOptions(n NATS) (*server.Options, error) {
	o := &server.Options{
		ServerName:             "xrtcbridge",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		JetStream:              true,
		StoreDir:               e.store.dir,
		SyncAlways:             n.Durability != "process",
		JetStreamMaxStore:      e.store.limit(orDefault(int64(n.MaxStore), defaultMaxStore), int64(n.Reserve)),
		JetStreamMaxMemory:     64 << 20,
		DisableJetStreamBanner: true,
		MaxPayload:             int32(orDefault(int64(n.MaxPayload), defaultMaxPayload)),
		MaxPending:             mostMaxPayload,
		MaxConn:                1024,
		WriteDeadline:          10 * time.Second,
		PingInterval:           20 * time.Second,
		MaxPingsOut:            2,
		Username:               n.Username,
		Password:               n.Password.Reveal(),
	}
	if n.Listen != "" {
		o.DontListen = false
		o.Host, o.Port = hostPort(n.Listen)
	}
	var err error
	if o.TLSConfig, err = n.TLS.config("nats"); err != nil {
		return nil, err
	}
	o.TLS, o.TLSTimeout = o.TLSConfig != nil, 10
	if m := e.settings.MQTT; m != nil {
		o.MQTT.Host, o.MQTT.Port = hostPort(m.Listen)
		o.MQTT.Username, o.MQTT.Password = m.Username, m.Password.Reveal()
		o.MQTT.TLSTimeout = 10
		if o.MQTT.TLSConfig, err = m.TLS.config("mqtt"); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (c *Certificate) config(key string) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read embedded.%s.tls: %w", key, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
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

func orDefault(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

// NATSURL is the address for NATS clients, or empty.
func (e *Server) NATSURL() string {
	if e.nats == nil || e.settings.NATS == nil || e.settings.NATS.Listen == "" {
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

// InProcessConn returns a connection to the NATS server that needs no listener, for [nats.InProcessServer].
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
