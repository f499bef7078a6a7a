package server

import (
	"container/list"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// fakeConn is a connection with a name.
type fakeConn struct {
	net.Conn
	name string
}

func TestConnLimit(t *testing.T) {
	const closed, hijacked = http.StateClosed, http.StateHijacked
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
		{"oldest silent one", []step{{"a", fresh, ""}, {"b", fresh, ""}, {"c", fresh, ""}, {"d", fresh, "a"}, {"a", closed, ""}, {"e", fresh, "b"}}, 3},
		{"silent before idle", []step{{"a", fresh, ""}, {"a", active, ""}, {"a", idle, ""}, {"b", fresh, ""}, {"c", fresh, ""}, {"d", fresh, "b"}, {"e", fresh, "c"}}, 3},
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
		{"all at work", []step{{"a", fresh, ""}, {"a", active, ""}, {"b", fresh, ""}, {"b", active, ""}, {"c", fresh, ""}, {"c", active, ""}, {"d", fresh, "d"}, {"d", closed, ""}, {"a", idle, ""}, {"e", fresh, "a"}}, 3},
		{"a victim speaks", []step{{"a", fresh, ""}, {"b", fresh, ""}, {"c", fresh, ""}, {"d", fresh, "a"}, {"a", active, ""}, {"a", idle, ""}, {"a", closed, ""}}, 3},
		{"closed ones leave", []step{{"a", fresh, ""}, {"b", fresh, ""}, {"b", active, ""}, {"c", fresh, ""}, {"c", active, ""}, {"c", idle, ""}, {"a", closed, ""}, {"b", hijacked, ""}, {"c", closed, ""}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connLimit{most: 3, all: make(map[net.Conn]*list.Element)}
			conns := map[string]*fakeConn{}
			for i, step := range tt.steps {
				if conns[step.conn] == nil {
					conns[step.conn] = &fakeConn{name: step.conn}
				}
				got := ""
				if victim := c.note(conns[step.conn], step.state); victim != nil {
					got = victim.(*fakeConn).name
				}
				if got != step.want {
					t.Errorf("step %d, %s is %v: got victim %q, want %q", i, step.conn, step.state, got, step.want)
				}
			}
			if got := len(c.all); got != tt.left || c.silent.Len()+c.idle.Len() > got {
				t.Errorf("got %s, want %d connections", fmt.Sprint(got, c.silent.Len(), c.idle.Len()), tt.left)
			}
		})
	}
}
