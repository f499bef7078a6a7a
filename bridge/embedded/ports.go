package embedded

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Port is the address of a listener.
type Port struct {
	Server string // mqtt, nats or xrtc, as in the settings
	Listen string
	Err    error // why it cannot be listened at, as by another process that does; nil: nothing is in the way
}

// Ports finds out where the servers could listen, and lets go of these addresses at once.
func (s Settings) Ports(ctx context.Context) (all []Port) {
	add := func(server, address string) {
		p := Port{Server: server, Listen: address}
		listeners, err := listen(ctx, address)
		for _, l := range listeners {
			if l != nil {
				_ = l.Close()
			}
		}
		if err != nil {
			p.Err = explain(err)
		}
		all = append(all, p)
	}
	if s.MQTT != nil {
		add("mqtt", s.MQTT.Listen)
	}
	if s.NATS != nil && s.NATS.Listen != "" {
		add("nats", s.NATS.Listen)
	}
	if s.XRTC != nil {
		add("xrtc", cmp.Or(s.XRTC.Listen, DefaultPortalListen))
	}
	return all
}

// InUse reports whether somebody listens there already.
func (p Port) InUse() bool { return errors.Is(p.Err, syscall.EADDRINUSE) }

// Serves reports whether a system, as [bridge.Traffic] names it, is the server of that port.
func (p Port) Serves(system string) bool {
	name, host, _ := strings.Cut(system, " ")
	_, own, err := net.SplitHostPort(p.Listen)
	if err != nil || name != p.Server || own == "0" {
		return false
	}
	usual := map[string]string{"mqtt": "1883", "nats": "4222", "xrtc": "80"}[name]
	u, err := bridge.ParseURL(name + "://" + host)
	return err == nil && pointsAt(u, p.Listen, map[string]string{name: usual})
}
