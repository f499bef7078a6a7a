package admin_test

import (
	"bufio"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// S56: who asks a bridge that says more and more, as one of another user may, ends by itself.
func TestS56EndlessAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		ask   func(*admin.Client) error
	}{
		"a status": {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"version\": \"", func(c *admin.Client) error {
			_, err := c.Status(t.Context())
			return err
		}},
		"a head": {"HTTP/1.1 101 Switching Protocols\r\nX: ", func(c *admin.Client) error {
			_, err := c.Upgrade(t.Context(), "/", "nats")
			return err
		}},
		"an error": {"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", func(c *admin.Client) error {
			return c.Ask(t.Context(), http.MethodGet, "/", nil, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			at := admin.InState(owned.Place{Path: t.TempDir()})
			l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(at.Folder.Path, at.Name))
			if err != nil {
				t.Fatal(err)
			}
			var said atomic.Int64
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for more := make([]byte, 1<<20); ; {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil { // else it has but looked
						_, err = conn.Write([]byte(c.begin))
						for i := range more {
							more[i] = 'A'
						}
						for err == nil && said.Load() < 4*admin.MostAnswer {
							var n int
							n, err = conn.Write(more)
							said.Add(int64(n))
						}
					}
					conn.Close()
				}
			}()
			client, err := admin.Dial(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.ask(client); err == nil {
				t.Error("it is content")
			}
			client.Close()
			l.Close()
			<-ended
			if n := said.Load(); n > 2*admin.MostAnswer {
				t.Errorf("it has heard %d MiB", n>>20)
			}
		})
	}
}
