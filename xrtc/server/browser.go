package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Values of headers that each answer has: it is JSON whatever a browser makes of it, and for nobody
// else. They are shared and never changed.
var (
	noSniff = []string{"nosniff"}
	noStore = []string{"no-store"}
)

// checkBrowser refuses what a web page has somebody's browser do. Other clients send nothing that
// it looks at, but for a Host.
func (s *Server) checkBrowser(r *http.Request) error {
	if !s.isOurs(r) {
		return &refusal{
			status: http.StatusForbidden, group: groupSystem, code: codeArguments,
			text: "this server does not go by the name in Host on this machine; its setting hosts lists further names",
		}
	}
	if err := s.crossOrigin.Check(r); err != nil {
		return &refusal{
			status: http.StatusForbidden, group: groupSystem, code: codeArguments,
			text: "a web page of another origin may not call this API",
		}
	}
	return nil
}

// isOurs reports whether a request that came over loopback asks for a name of this machine. With a
// name of its own that leads here, a web page would have the same origin as the server.
func (s *Server) isOurs(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return true
	}
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	switch {
	case name == "" || s.hosts[name]: // only HTTP/1.0, and no browser, names none
		return true
	case name == "localhost" || name == "host.docker.internal" || name == "host.containers.internal":
		// Nobody can own a name below internal, which containers call their host by.
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}
