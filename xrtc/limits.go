package xrtc

import (
	"encoding/json"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Limits of the public service, as its documentation gives them. A server of this package tells
// its own at login, see [Client.Limits].
const (
	PortalIDMax       = wire.MaxPortalID // characters of a portal id
	PayloadSizeMax    = 1024             // PAYLOAD_SIZE_MAX: bytes of a request or an answer
	PortalsCountMax   = 10               // PORTALS_COUNT_MAX: portals of an account
	ItemAgeMax        = time.Hour        // ITEM_AGE_MAX: older items are gone
	GetItemTimeout    = 5 * time.Second  // GET_ITEM_TIMEOUT: the longest watch or stream
	LoginTimeout      = 5 * time.Second  // LOGIN_TIMEOUT: least time between two logins with one key
	RequestsPerSecond = 20               // sets and gets with one key
	RequestsPerMonth  = 1_000_000        // sets and gets of one account
	SessionIdle       = time.Minute      // time without use after which a session ends

	// RequestSizeMax is the most bytes of a request that clients send (SERIALIZED_JSON_SIZE_MAX),
	// whatever the server says.
	RequestSizeMax = 65536
)

// Limits are what a client has to keep to.
type Limits struct {
	PayloadSizeMax    int           // bytes of a request
	PortalsCountMax   int           // portals of an account
	RequestsPerSecond int           // with one key; 0: no limit
	ItemAgeMax        time.Duration // how long items are held
	GetItemTimeout    time.Duration // the longest watch or stream
	LoginTimeout      time.Duration // least time between two logins
	Announced         bool          // the server said so; else they are those of the public service
}

// limits reads what a server announced. What it leaves out is as with the public service.
func limits(header string) Limits {
	told := wire.Limits{
		PayloadSizeMax: PayloadSizeMax, PortalsCountMax: PortalsCountMax, RequestsPerSecond: RequestsPerSecond,
		ItemAgeMax: ItemAgeMax.Milliseconds(), GetItemTimeout: GetItemTimeout.Milliseconds(),
		LoginTimeout: LoginTimeout.Milliseconds(),
	}
	announced := json.Unmarshal([]byte(header), &told) == nil
	duration := func(ms int64) time.Duration {
		return time.Duration(max(0, min(ms, (24*time.Hour).Milliseconds()))) * time.Millisecond
	}
	return Limits{
		PayloadSizeMax: max(0, told.PayloadSizeMax), PortalsCountMax: max(0,
			told.PortalsCountMax), RequestsPerSecond: max(0, told.RequestsPerSecond),
		ItemAgeMax: duration(told.ItemAgeMax), GetItemTimeout: duration(told.GetItemTimeout),
		LoginTimeout: duration(told.LoginTimeout),
		Announced:    announced,
	}
}
