package embedded

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Connections of the NATS server and the MQTT broker together. The server counts those that have
// yet to log in with the others, so a few at a time are kept of them, and there is more room than
// can be filled until the next look.
const (
	mostConns     = 4096
	mostStrangers = 512
	lookEvery     = 100 * time.Millisecond
)

// evictStrangers closes, while the server runs, the oldest connections that have not logged in, if
// there are too many, so that they keep nobody out who can. It goes through the connections only
// when so many have come since the last time that there may be too many.
func (e *Server) evictStrangers(done <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var strangers []uint64 // at the last look, the oldest first
	var total uint64       // when so many connections had come
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if e.nats.NumClients() <= mostStrangers {
			continue
		}
		now, err := e.nats.Varz(nil)
		if err != nil || len(strangers)+int(now.TotalConnections-total) <= mostStrangers {
			continue
		}
		total = now.TotalConnections
		all, err := e.nats.Connz(&server.ConnzOptions{Username: true, Sort: server.ByCid, Limit: mostConns})
		if err != nil {
			continue // it ends
		}
		strangers = strangers[:0]
		for _, c := range all.Conns {
			// Only who was let in has said anything of itself, or anything else.
			if c.AuthorizedUser == "" && c.MQTTClient == "" && c.Lang == "" && c.Name == "" && c.NumSubs == 0 && c.InMsgs == 0 {
				strangers = append(strangers, c.Cid)
			}
		}
		excess := max(0, len(strangers)-mostStrangers)
		for _, id := range strangers[:excess] {
			_ = e.nats.DisconnectClientByID(id) // it may be gone
		}
		strangers = strangers[excess:]
	}
}
