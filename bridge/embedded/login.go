package embedded

import (
	"cmp"
	"context"
	"net"
	"net/url"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Entry says who gets into one of the servers, for people.
type Entry struct {
	Server   string // mqtt or nats, as in the settings
	Open     bool   // everybody
	Username string
	Made     bool   // its password is made at the first start,
	File     string // and kept here; empty: in a temporary store, which the log names
}

// Entries returns those of the NATS server and the MQTT broker, as far as they listen.
func (s Settings) Entries() (all []Entry) {
	add := func(server, username, made string, open bool) {
		e := Entry{Server: server, Open: open, Username: username}
		if username == "" && !open {
			e.Username, e.Made, e.File = made, true, s.passwordFile(made)
		}
		all = append(all, e)
	}
	if m := s.MQTT; m != nil {
		add("mqtt", m.Username, mqttUser, m.Open)
	}
	if n := s.NATS; n != nil && n.Listen != "" {
		add("nats", n.Username, natsUser, n.Open)
	}
	return all
}

// Login gives to those of the addresses that point at one of the servers, and name no user, the one
// that it lets in.
func (e *Server) Login(addresses []bridge.URL) error { return e.settings.Login(addresses) }

// Login does what [Server.Login] does for servers that run in another process. Passwords that were
// made at the start are known if the settings name a folder that keeps them.
func (s Settings) Login(addresses []bridge.URL) error {
	s, err := s.withPasswords(context.Background(), false) // which waits for nobody
	if err != nil {
		return err
	}
	m, n := s.MQTT, s.NATS
	mqttPorts := map[string]string{"mqtt": "1883", "tcp": "1883", "mqtts": "8883", "ssl": "8883"}
	natsPorts := map[string]string{"nats": "4222", "tls": "4222"}
	for _, u := range addresses {
		switch {
		case u.IsZero() || u.User != nil:
		case m != nil && !m.Open && pointsAt(u, m.Listen, mqttPorts):
			u.User = userinfo(m.Username, m.Password)
		case n.Listen != "" && !n.Open && pointsAt(u, n.Listen, natsPorts):
			u.User = userinfo(n.Username, n.Password)
		}
	}
	return nil
}

func userinfo(username string, password bridge.Secret) *url.Userinfo {
	if password.IsZero() {
		return nil
	}
	return url.UserPassword(username, password.Reveal())
}

// pointsAt reports whether u is an address of the listener. ports has the schemes that it may have.
func pointsAt(u bridge.URL, listen string, ports map[string]string) bool {
	host, port, err := net.SplitHostPort(listen)
	usual, known := ports[u.Scheme]
	if err != nil || !known || cmp.Or(u.Port(), usual) != port {
		return false
	}
	ip := net.ParseIP(host)
	everywhere := host == "" || ip != nil && ip.IsUnspecified()
	return u.Hostname() == host || isLoopback(u.Hostname()) && (isLoopback(host) || everywhere)
}
