package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

const socketName = "xrtcbridge.sock"

// door lets commands of the same user into the server of a running bridge, by a socket in its folder, which nobody else may enter.
type door struct {
	listener net.Listener
	server   *embedded.Server
	passing  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	shut  bool
}

func openDoor(dir string, server *embedded.Server) (*door, error) {
	path := filepath.Join(dir, socketName)
	// The folder is locked, so that whoever left one there has ended.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	d := &door{listener: listener, server: server, conns: make(map[net.Conn]bool)}
	d.passing.Go(d.accept)
	return d, nil
}

func (d *door) accept() {
	for {
		out, err := d.listener.Accept()
		if err != nil {
			return
		}
		in, err := d.server.InProcessConn()
		if err != nil {
			_ = out.Close()
			continue
		}
		d.passing.Go(func() { d.pass(out, in) })
		d.passing.Go(func() { d.pass(in, out) })
	}
}

// pass copies until one of the two ends.
func (d *door) pass(to, from net.Conn) {
	d.mu.Lock()
	d.conns[to] = true
	shut := d.shut
	d.mu.Unlock()
	if !shut {
		_, _ = io.Copy(to, from)
	}
	_ = to.Close()
	_ = from.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, to)
}

func (d *door) close() {
	_ = d.listener.Close()
	d.mu.Lock()
	d.shut = true
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.passing.Wait()
}

// knock connects to the server of a bridge that runs in the folder, if one does.
func (n *session) knock(dir string) (found bool) {
	path := filepath.Join(dir, socketName)
	if !exists(path) {
		return false
	}
	nc, err := n.connect(nats.SetCustomDialer(socketDialer(path)))
	if err != nil {
		return false // it was left by one that was killed; else the lock says who has the folder
	}
	n.nc = nc
	n.where += " (in use)"
	return true
}

type socketDialer string

func (path socketDialer) Dial(string, string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 2 * time.Second}).Dial("unix", string(path))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
