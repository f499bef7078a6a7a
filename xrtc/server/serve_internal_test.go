package server

import (
	"fmt"
	"net"
	"net/http"
	"testing"
)

// fakeConn is a connection with a name.
type fakeConn struct {
	net.Conn
	name   string
	member *member
}

func TestConnLimit(t *testing.T) {
	const closed, hijacked = http.StateClosed, http.StateHijacked
	const begun, unknown http.ConnState = 100, 101 // a request without session: its header came, and all of it
	type step struct {
		conn  string
		state http.ConnState
		want  string // the victim
	}
	const fresh, active, idle = http.StateNew, http.StateActive, http.StateIdle
	for _, tt := range []struct {
		name  string
		steps []step // three connections are the most
		left  int
	}{
		{"room", []step{{"a", fresh, ""}, {"b", fresh, ""}, {"c", fresh, ""}}, 3},
		{"oldest silent one", []step{
			{"a", fresh, ""},
			{"b", fresh, ""},
			{"c", fresh, ""},
			{"d", fresh, "a"},
			{"a", closed, ""},
			{"e", fresh, "b"},
		}, 3},
		{"silent before idle", []step{
			{"a", fresh, ""},
			{"a", active, ""},
			{"a", idle, ""},
			{"b", fresh, ""},
			{"c", fresh, ""},
			{"d", fresh, "b"},
			{"e", fresh, "c"},
		}, 3},
		{"longest idle", []step{
			{"a", fresh, ""},
			{"a", active, ""},
			{"a", idle, ""},
			{"b", fresh, ""},
			{"b", active, ""},
			{"b", idle, ""},
			{"a", active, ""},
			{"a", idle, ""},
			{"c", fresh, ""},
			{"c", active, ""},
			{"d", fresh, "b"},
			{"d", active, ""},
			{"e", fresh, "a"},
		}, 3},
		{"all at work", []step{
			{"a", fresh, ""},
			{"a", active, ""},
			{"b", fresh, ""},
			{"b", active, ""},
			{"c", fresh, ""},
			{"c", active, ""},
			{"d", fresh, "d"},
			{"d", closed, ""},
			{"a", idle, ""},
			{"e", fresh, "a"},
		}, 3},
		{"a victim speaks", []step{
			{"a", fresh, ""},
			{"b", fresh, ""},
			{"c", fresh, ""},
			{"d", fresh, "a"},
			{"a", active, ""},
			{"a", idle, ""},
			{"a", closed, ""},
		}, 3},
		{"closed ones leave", []step{
			{"a", fresh, ""},
			{"b", fresh, ""},
			{"b", active, ""},
			{"c", fresh, ""},
			{"c", active, ""},
			{"c", idle, ""},
			{"a", closed, ""},
			{"b", hijacked, ""},
			{"c", closed, ""},
		}, 0},
		{"each, silent", []step{
			{"a1", fresh, ""},
			{"b1", fresh, ""},
			{"a2", fresh, ""},
			{"a3", fresh, "a1"},
			{"a4", fresh, "a2"},
		}, 3},
		{"each, idle", []step{
			{"b1", fresh, ""},
			{"a1", fresh, ""},
			{"a1", active, ""},
			{"a1", idle, ""},
			{"a2", fresh, ""},
			{"a2", active, ""},
			{"a3", fresh, "a1"},
		}, 3},
		{"each, at work", []step{
			{"b1", fresh, ""},
			{"a1", fresh, ""},
			{"a1", active, ""},
			{"a2", fresh, ""},
			{"a2", active, ""},
			{"a3", fresh, "a3"},
			{"a1", closed, ""},
			{"a4", fresh, ""},
		}, 3},
		{"a slow body before idle", []step{
			{"a", fresh, ""},
			{"a", active, ""},
			{"a", idle, ""},
			{"b", fresh, ""},
			{"b", begun, ""},
			{"c", fresh, ""},
			{"c", active, ""},
			{"d", fresh, "b"},
			{"d", active, ""},
			{"e", fresh, "a"},
		}, 3},
		{"no session before idle", []step{
			{"a", fresh, ""},
			{"a", active, ""},
			{"a", idle, ""},
			{"b", fresh, ""},
			{"b", unknown, ""},
			{"c", fresh, ""},
			{"c", active, ""},
			{"d", fresh, "a"}, // b is at work
			{"b", idle, ""},
			{"d", active, ""},
			{"d", idle, ""},
			{"e", fresh, "b"},
			{"f", fresh, "e"},
		}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connLimit{most: 3, each: 2, all: make(map[net.Conn]*member), origins: make(map[string]int)}
			conns := map[string]*fakeConn{}
			for i, step := range tt.steps {
				if conns[step.conn] == nil {
					conns[step.conn] = &fakeConn{name: step.conn}
				}
				got := ""
				conn, from := conns[step.conn], step.conn[:1] // a, b and so on; a1 and a2 are of one origin
				switch step.state {
				case fresh:
					m, victim := c.add(conn, from)
					if conn.member = m; victim != nil {
						got = victim.(*fakeConn).name
					}
				case begun:
					c.changed(conn, active)
				case active, unknown:
					c.changed(conn, active)
					c.atWork(conn.member, step.state == active)
				default:
					c.changed(conn, step.state)
				}
				if got != step.want {
					t.Errorf("step %d, %s is %v: got victim %q, want %q", i, step.conn, step.state, got, step.want)
				}
			}
			if got := len(c.all); got != tt.left || len(c.origins) > got || c.strangers.Len()+c.idle.Len() > got {
				t.Errorf("got %s, want %d connections", fmt.Sprint(got, c.strangers.Len(), c.idle.Len()), tt.left)
			}
		})
	}
}
