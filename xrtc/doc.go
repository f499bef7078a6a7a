// Package xrtc is the Go SDK of the XRTC portal API: a low-latency exchange of text items over
// HTTP. A [Client] logs in, sets items into portals, and gets them out again: once (probe), waiting
// for the first (watch), or as they come (stream).
//
//	client, err := xrtc.Open(ctx, xrtc.Config{}) // credentials from the environment or xrtc.env
//	…
//	defer client.Close()
//	_, err = client.Set(ctx, xrtc.Item{PortalID: "kitchen", Payload: "21.5"})
//	…
//	for item, err := range client.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("kitchen")}) {
//		…
//	}
//
// # Credentials and addresses
//
// They come, the first match winning, from [Config] (account id and key only if both are given),
// from environment variables (in any letter case), from a dotenv file, or are the defaults of the
// public service. The variables are ACCOUNT_ID, API_KEY, LOGIN_URL, SET_URL, GET_URL and
// SERIALIZED_JSON_SIZE_MAX; the file is xrtc.env in the working directory unless Config names
// another. It must be this user's or root's, and addresses in it that nobody has named count only
// for account id and key that stand there, too. So one file serves this SDK and the Python one.
// Account id and key are never printed or logged.
//
// # Sessions
//
// All goroutines that use a Client share one logged-in session, and TCP connections that are kept.
// When the session has expired, one of them logs in again while the others wait, at most once in
// LOGIN_TIMEOUT.
//
// The server keeps for each session how far it has read each portal. So two streams of one Client
// on the same portal share its items. A new session begins with everything that the server still
// holds; Stream asks for what is new only, so that items neither get lost nor come twice.
//
// # Limits
//
// What a request may be is checked before it is sent, and the error names the limit. When the
// server refuses one because there were too many, the Client waits as long as the server says, up
// to five minutes, and all its requests with it.
package xrtc
