// Package admin lets people and programs see a bridge that runs and steer it, by HTTP.
//
// # Where it answers
//
// Always at a unix socket that only this user and root can connect to: admin.sock in the state
// folder, or, where there is none or it cannot be written, one in the folder for temporary files,
// under a name that follows from where the state would be. There each user has a folder, and looks
// into no other: everybody can make one and pretend to be a bridge. See [Place].
//
// A bridge takes the place of one that was killed, never that of one that does not answer.
//
// And, with [Settings], over TCP: on loopback, or anywhere with a token and TLS.
//
// # Routes
//
//	GET  /livez                       200 while the process works, also while it stops
//	GET  /readyz                      200 if the bridge is ready, else 503; see [monitor.Status]
//	GET  /status                      a [monitor.Status]
//	GET  /tap                         messages as they pass, one a line; see [TapLine]
//	POST /pipelines/{name}/pause      stops a pipeline until it is resumed
//	POST /pipelines/{name}/resume     starts it again
//	POST /pipelines/{name}/restart    stops and starts it
//	GET  /, /page/, /events           the page for browsers, see package page
//	POST /login                       {"code": "…"} of a link gives {"token": "…"}
//	POST /links                       at the socket only: {"url": "…"}, which lets a browser in once
//	GET  /links/{code}                at the socket only: 204 until it has, or a minute is over, then 404
//
// What goes wrong is answered as {"error": "…"}. Bodies of requests are JSON.
//
// # Who may ask
//
// At the socket, its user and root may do all. Over TCP, /livez, /readyz (without reasons), /login and the
// files of the page are open; all else wants Authorization: Bearer with the token, or one that a
// link has led to. There are no cookies, so that a browser sends nothing by itself. A request under
// a name that is not the server's is refused, and so is one of another site's page.
package admin
