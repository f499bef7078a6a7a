package embedded

import (
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// users says who may do what in a server that somebody else than this process can reach. Who needs
// no password is a user too, so that the same limits hold.
func (s Settings) users(o *server.Options) {
	m, n := s.MQTT, s.NATS
	if m == nil && n.Listen == "" {
		return
	}
	kinds := map[string]struct{}{jwt.ConnectionTypeInProcess: {}}
	if n.Listen != "" {
		kinds[jwt.ConnectionTypeStandard] = struct{}{}
	}
	o.Users = []*server.User{{Username: n.Username, Password: n.Password.Reveal(), AllowedConnectionTypes: kinds}}
	if n.Open {
		o.NoAuthUser = n.Username
	}
	if m == nil {
		return
	}
	// What servers, JetStream and their clients say to one another, and what bridges keep: who may
	// say it administers streams or forges a state, and who hears it takes confirmations for
	// messages. The broker itself subscribes to
	// $MQTT for a client, and lets no client do that.
	denied := []string{
		"$JS.>", "$JSC.>", "$SYS.>", "$SRV.>", "$KV.>", "$O.>", "$NRG.>", "$LDS.>", "$GR.>",
		"_INBOX.>", "_R_.>", "_GR_.>", natsclient.OwnSubjects + ">",
	}
	o.Users = append(o.Users, &server.User{
		Username: m.Username, Password: m.Password.Reveal(),
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: append(denied, "$MQTT.>")},
			Subscribe: &server.SubjectPermission{Deny: denied},
		},
		AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeMqtt: {}},
	})
	if m.Open {
		o.MQTT.NoAuthUser = m.Username
	}
}
