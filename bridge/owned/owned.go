// Package owned tells what only this user can change from what somebody else could have put there,
// could change, or could exchange for something else. It asks for owner, mode and symbolic links,
// as sshd's StrictModes does:
//
//   - What belongs to root or to the effective user of the process is trusted.
//   - What everybody can write to is not, and neither is what a group can write to, unless that is
//     root's or has the number of the user, who then is its only member by convention.
//   - A symbolic link counts as something of its own, so that those of others are not followed.
//
// Where others share a folder on purpose, or its file system knows no owners, a [Place] that is
// shared is taken as it is, but for the links.
//
// On systems other than Unix nothing is refused: who may write a file is not in its mode there.
package owned

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// OthersError says that another user owns a place, or can write to it.
type OthersError struct {
	Path   string
	Why    string // what follows the path
	Mend   string // what to do, with the command
	Theirs bool   // it belongs to the other user
}

func (e *OthersError) Error() string { return e.Path + " " + e.Why + ": " + e.Mend }

// File returns an error if somebody else could change the file, or exchange it: each folder and
// each link on the way to it is looked at, and the folder of the file as [Folder] does.
func File(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for range mostLinks {
		folder, err := closed(filepath.Dir(path))
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if err := check(path, info); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(folder, to)
		}
		path = to
	}
	return fmt.Errorf("%s: too many links", path)
}

// Folder returns an error if somebody else could put something into the folder, or exchange it. In
// a sticky one others can add files, which a program may take for its own, so that sticky suffices
// for the folders above only.
func Folder(path string) error {
	_, err := closed(path)
	return err
}

// closed is [Folder], and returns the path without links.
func closed(path string) (string, error) {
	real, err := resolve(path, check)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(real)
	if err != nil {
		return "", err
	}
	return real, checkMode(real, info)
}

// Reached returns an error if a link of another user led to what was opened at a path, of which
// info is, unless that is the other user's, too: who can make links where this process looks could
// have it read or write what they may not. What has been exchanged since it was opened is not
// there.
func Reached(path string, info fs.FileInfo) error {
	if !owners {
		return nil
	}
	owner, _ := stranger(info)
	real, err := resolve(path, func(at string, link fs.FileInfo) error {
		user, other := stranger(link)
		if link.Mode()&fs.ModeSymlink == 0 || !other || user == 0 || user == owner {
			return nil
		}
		return &OthersError{
			at, fmt.Sprintf("is a symbolic link of user %d to what is not theirs", user),
			fmt.Sprintf("remove it, or chown -h %d %s if it may lead there", os.Geteuid(), quote(at)), true,
		}
	})
	if err != nil {
		return err
	}
	there, err := os.Lstat(real)
	if err == nil && !os.SameFile(there, info) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

const mostLinks = 40

// resolve returns the path without links. It calls visit for everything on the way, links and the
// path itself included.
func resolve(path string, visit func(string, fs.FileInfo) error) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	at, rest := root, []string{"."}
	follow := func(path string) { rest = append(strings.Split(path, string(filepath.Separator)), rest...) }
	follow(strings.TrimPrefix(path, root))
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0]) // at has no links, so that .. is right
		rest = rest[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if err := visit(next, info); err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > mostLinks {
			return "", fmt.Errorf("%s: too many links", path)
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) {
			volume := filepath.VolumeName(to)
			at, to = volume+string(filepath.Separator), to[len(volume):]
		}
		follow(to)
	}
	return at, nil
}

// check refuses what is another user's, or writable by others.
func check(path string, info fs.FileInfo) error {
	if err := checkOwner(path, info); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 || info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil // others can neither change a link nor exchange what is in a sticky folder
	}
	return checkMode(path, info)
}

// checkOwner refuses what belongs to neither this user nor root.
func checkOwner(path string, info fs.FileInfo) error {
	user, other := stranger(info)
	if !other || user == 0 {
		return nil
	}
	mend := fmt.Sprintf("chown -h %d %s", os.Geteuid(), quote(path)) // of a link, or what is none
	if os.Geteuid() == 0 {
		mend = runAs(user) // whose service may need it as it is
	}
	return &OthersError{
		path, fmt.Sprintf("belongs to user %d, who could change or exchange what is there", user),
		"choose another place, or " + mend, true,
	}
}

// checkMode refuses what everybody can write to, or a group with others in it.
func checkMode(path string, info fs.FileInfo) error {
	why, mode := writable(info)
	if why == "" {
		return nil
	}
	return &OthersError{path, why, "chmod " + mode + " " + quote(path), false}
}

// writable says who but this user can write there, and the mode that mends it; nothing if nobody
// can.
func writable(info fs.FileInfo) (why, mode string) {
	group, all := writers(info)
	what := "it"
	if info.IsDir() {
		what = "what is in it"
	}
	switch {
	case all && group != "":
		mode = "go-w"
	case all:
		mode = "o-w"
	case group != "":
		return fmt.Sprintf("is writable by group %s, so others could change %s", group, what), "g-w"
	default:
		return "", ""
	}
	return "is writable by everybody, so anybody could change " + what, mode
}

// quote returns a path as a shell wants it.
func quote(path string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+,:@%"
	if path != "" && path[0] != '-' && strings.Trim(path, plain) == "" {
		return path
	}
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// ReadFile reads a file that nobody else can write to. The folders above are not looked at, since
// whoever exchanges the file cannot make another one that is this user's.
func ReadFile(path string) ([]byte, error) { return Place{Path: path}.ReadFile() }

// ReadFile is [ReadFile] of the place, and reads any file if that is shared, but follows no link of
// others.
func (p Place) ReadFile() ([]byte, error) {
	path, look := p.Path, check
	if p.Shared {
		look = checkLink
	}
	link, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|noWait, 0) // a pipe of somebody else's would wait for them
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for _, i := range []fs.FileInfo{link, info} {
		if err := look(path, i); err != nil {
			return nil, p.named(err)
		}
	}
	return io.ReadAll(f)
}
