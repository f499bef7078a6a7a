package mqtt

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// schemes says what each URL scheme means.
func schemes(scheme string) (s struct {
	port     string
	tls, web bool
}, known bool,
) {
	switch scheme {
	case "mqtt", "tcp":
		s.port = "1883"
	case "mqtts", "ssl":
		s.port, s.tls = "8883", true
	case "ws":
		s.port, s.web = "80", true
	case "wss":
		s.port, s.tls, s.web = "443", true, true
	default:
		return s, false
	}
	return s, true
}

// dial connects to the broker, up to where MQTT begins.
func dial(ctx context.Context, s *ClientSettings) (net.Conn, error) {
	scheme, _ := schemes(s.URL.Scheme)
	var secure *tls.Config
	if scheme.tls {
		var err error
		if secure, err = s.TLS.Config(); err != nil {
			return nil, err
		}
	}
	if scheme.web {
		u := *s.URL.URL
		u.User = nil // the websocket library refuses it
		return paho.NewWebsocket(u.String(), secure, s.ConnectTimeout, nil, nil)
	}
	address := s.URL.Host
	if s.URL.Port() == "" {
		address = net.JoinHostPort(s.URL.Hostname(), scheme.port)
	}
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	if secure != nil {
		return (&tls.Dialer{NetDialer: &d, Config: secure}).DialContext(ctx, "tcp", address)
	}
	return d.DialContext(ctx, "tcp", address)
}
