package natsclient

// Screened reports whether text in pieces of that size may come from a server.
func Screened(text string, size int) bool {
	var s screen
	for len(text) > 0 {
		n := min(size, len(text))
		if s.look([]byte(text[:n])) != nil {
			return false
		}
		text = text[n:]
	}
	return true
}
