package natsclient

// Screened reports whether text in pieces of that size may come from a server.
func Screened(text string, size int) bool {
	return pieces(text, size, new(screen).look)
}

// ScreenedInFrames is Screened for what a server of WebSockets sends.
func ScreenedInFrames(text string, size int) bool { return pieces(text, size, new(screen).unwrap) }

func pieces(text string, size int, look func([]byte) error) bool {
	for len(text) > 0 {
		n := min(size, len(text))
		if look([]byte(text[:n])) != nil {
			return false
		}
		text = text[n:]
	}
	return true
}

// Named returns which name the certificate of each server must have, in this order.
func (s *Settings) Named(addresses ...string) (names []string) {
	named := s.names()
	for _, a := range addresses {
		names = append(names, named(a))
	}
	return names
}
