package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// Place is where the socket of a bridge may be.
type Place struct {
	Folder owned.Place
	Name   string

	// own says that its folder is this user's. In one for temporary files everybody can make one of
	// that name, so that not even root asks who answers in one of another user.
	own bool
}

// InState returns the place in a state folder.
func InState(folder owned.Place) Place { return Place{Folder: folder, Name: "admin.sock"} }

// Elsewhere returns the place of a bridge without a state folder that it can write to. The key is
// what those who look for it know: the path where the folder would be, for which links do not
// count, or anything that is no path.
func Elsewhere(key string) Place {
	if abs, err := filepath.Abs(key); err == nil {
		key = abs
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(key)); err == nil {
		key = filepath.Join(folder, filepath.Base(key))
	}
	sum := sha256.Sum256([]byte(key))
	return Place{
		Folder: owned.Place{Path: filepath.Join(os.TempDir(), "xrtcbridge-"+strconv.Itoa(os.Geteuid()))},
		Name:   hex.EncodeToString(sum[:8]) + ".sock", own: true,
	}
}

// Sibling returns the absolute path of what has that name beside the socket.
func (p Place) Sibling(name string) string {
	path := filepath.Join(p.Folder.Path, name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (p Place) String() string { return filepath.Join(p.Folder.Path, p.Name) }

// InUseError says that another bridge answers at the place.
type InUseError struct{ Place Place }

func (e *InUseError) Error() string {
	return fmt.Sprintf("another bridge answers at %s: give this one a folder of its own, as in state: data/other", e.Place)
}

// socket is a listener, and the folder that it is in.
type socket struct {
	net.Listener
	folder *owned.Dir
	place  Place
}

func (s *socket) Close() error { return errors.Join(s.Listener.Close(), s.folder.Close()) }

// listen listens at the first place where that is possible.
func listen(ctx context.Context, places []Place) (*socket, error) {
	var errs []error
	for _, p := range places {
		l, err := p.listen(ctx)
		if err == nil || errors.As(err, new(*InUseError)) {
			return l, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (p Place) listen(ctx context.Context) (*socket, error) {
	folder, err := p.Folder.Make()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", p.Folder.Path, err)
	}
	unlocked, err := folder.Lock(ctx) // until there is a socket for who looks next
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	defer unlocked()
	// Only who refuses is gone: one that is stopped, or has too many to answer, is still there.
	switch c, err := folder.Dial(ctx, p.Name); {
	case err == nil:
		return nil, errors.Join(&InUseError{p}, c.Close(), folder.Close())
	case errors.Is(err, syscall.EAGAIN): // its queue is full
		return nil, errors.Join(&InUseError{p}, folder.Close())
	case !gone(err):
		return nil, errors.Join(fmt.Errorf("see who answers at %s: %w; remove it if nobody does", p, err), folder.Close())
	}
	l, err := folder.Listen(ctx, p.Name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", p, err), folder.Close())
	}
	return &socket{l, folder, p}, nil
}

// dial connects to the bridge at the place. Root may ask the bridge of any user that is in its state.
func (p Place) dial(ctx context.Context) (net.Conn, error) {
	open := p.Folder.Visit
	if p.own {
		open = p.Folder.Open
	}
	folder, err := open()
	if err == nil {
		defer func() { _ = folder.Close() }()
		var c net.Conn
		if c, err = folder.Dial(ctx, p.Name); err == nil {
			return c, nil
		}
	}
	switch {
	case gone(err):
		err = ErrNobody
	case errors.Is(err, syscall.EAGAIN):
		err = fmt.Errorf("%w: the bridge there is stopped, or has too much to do", err)
	}
	return nil, err
}

// gone reports whether an error of a connection says that nobody is there: there is no socket, or
// one that was left by a bridge that was killed.
func gone(err error) bool {
	const refusedByWindows = syscall.Errno(10061)
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, refusedByWindows)
}

// answers returns nil if a bridge can be asked at the place.
func (p Place) answers(ctx context.Context) error {
	c, err := p.dial(ctx)
	if err == nil {
		err = c.Close()
	}
	return err
}
