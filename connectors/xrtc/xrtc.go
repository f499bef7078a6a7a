// Package xrtc connects to XRTC portals: a source that gets items, and a sink that sets them.
//
// # Settings
//
// Both take url, account_id, api_key, env_file and tls. What is not given comes from the
// environment (ACCOUNT_ID, API_KEY, LOGIN_URL, …) or the dotenv file xrtc.env, as in every SDK; url
// stands for all three URLs. The source takes portals, mode, interval, schedule, cutoff, decode,
// envelope and buffer; the sink takes portal, pack, overflow, encode, envelope, parallel, and, to
// overrule what the server announces, rate, max_request and max_portals. See [ClientSettings],
// [SourceSettings] and [SinkSettings].
//
// Message.Topic of the source is the portal id, Message.Time the server's timestamp.
//
// # Limits
//
// The server announces its limits, or they are those of the public service: 20 requests a second,
// 1,024 bytes a request, 10 portals. The sink packs many messages, also for several portals, into
// one request, and sends requests at 98 % of the rate, which leaves a little for sources; all
// instances in the process that use one key share it. Write returns when the next request may be
// sent, so that the next batch holds all that has come meanwhile. Without a limit of the rate, or
// when an answer takes longer than the time from one request to the next, up to parallel requests
// are on their way, each for other portals.
//
// What comes faster than that makes the source wait (overflow: block, the default), or is left out:
// with conflate all but the newest message of each portal in a batch, with drop what comes behind
// the requests that the rate allows. The ledger counts what was left out as dropped. Where there is
// no rate, conflate leaves nothing out.
//
// # Payloads
//
// A portal holds UTF-8. With encode auto, the default, a payload that is not UTF-8 becomes
// data:;base64, and its base64 form, and so does one that begins with these characters itself;
// decode auto undoes that. text takes UTF-8 only; base64 and urlencode convert every payload. With
// envelope the payload is JSON that holds topic, time, id and headers too, of which a source with
// envelope restores all but the id. A source refuses what it cannot decode.
//
// # Delivery
//
// Source: at least once, as long as the server holds the item. Portals are rings in the memory of
// the server: a pipeline that is slower than its portals are written, or was away, loses the oldest
// items. Servers of this project number items, so that the source counts what is missing as dropped
// once a later item of the portal is acknowledged. A new instance goes on where the last one had
// acknowledged, after a restart of the process too if the pipeline has a state. With schedule LIFO
// an answer leaves out older items that it has no room for: at most once, and counted the same way,
// as is what cutoff leaves out. Message.ID is made of portal, time and payload and stays the same
// when an item comes again.
//
// With portals: all the source finds portals that come into being within five seconds or so, and
// all that their rings hold by then. The public service shows as many as fit into one answer, the
// ones written last first.
//
// Sink: a message is delivered when the server has answered that it holds it. A request whose
// answer is lost is made again: at least once. The order is kept for each portal, over a failure
// too: what is sent again comes behind what was there.
//
// A portal beyond max_portals would make the server throw another one away, with its items, so with
// overflow block the message is refused. All sinks of an account count together, with the portals
// that the server had when the first one was opened.
//
// # Errors
//
// Wrong credentials are permanent. The sink refuses a message whose portal id is not valid, or that
// is too large for a request. A server that is away, or refuses because there were too many
// requests, is asked again.
package xrtc

import (
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	keys := newKeyring()
	return bridge.Connector{
		Name:     "xrtc",
		Summary:  "gets items from XRTC portals, and sets them",
		Delivery: "at least once while the portal's ring holds the item; what a ring lost is counted",
		Headers:  []string{"with envelope: true, those of the message"},
		Example:  example,
		Source: bridge.NewOpener(SourceSettings{
			Mode: "stream", Interval: time.Second, Schedule: "FIFO", Decode: "auto", Buffer: 4 << 20,
		}, keys.openSource),
		Sink: bridge.NewOpener(SinkSettings{
			Pack: true, Overflow: "block", Encode: "auto", Parallel: 4,
		}, keys.openSink),
	}
}
