package pluginpb

import "github.com/hashicorp/go-plugin"

// Version is that of the contract, the second number in the handshake line.
const Version = 1

// Handshake returns what a plugin and the bridge must agree on before anything else. The cookie
// keeps people from starting a plugin by hand; it is no secret and secures nothing.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  Version,
		MagicCookieKey:   "XRTCBRIDGE_PLUGIN",
		MagicCookieValue: "5d0fd9d2e5a04e0c8c9a6a2f3c7b1e90",
	}
}

// Overhead is what a gRPC message may have beyond the limit that both sides agreed on for batches.
// Half of it is for the texts of refusals.
const Overhead = 1 << 20

// LimitVariable is the environment variable that tells a plugin how many bytes a batch may have,
// and DefaultLimit what holds without it.
const (
	LimitVariable = "XRTCBRIDGE_PLUGIN_LIMIT"
	DefaultLimit  = 16 << 20
)
