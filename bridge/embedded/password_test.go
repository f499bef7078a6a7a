package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

func secret(t *testing.T, file string) string {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", file, info.Mode())
	}
	text := strings.TrimSpace(string(must(os.ReadFile(file))))
	if len(text) < 26 { // of 32 letters: 130 bits
		t.Errorf("%s holds %q", file, text)
	}
	return text
}

// S32: where no password is set, one is made that nobody else can read, that survives a restart,
// and without which nobody gets in.
func TestS32PasswordIsMade(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(s *embedded.Settings, dir string)
	}{
		{"InStore", func(s *embedded.Settings, dir string) { s.NATS.Store = filepath.Join(dir, "passwords") }},
		{"InOtherFolder", func(s *embedded.Settings, dir string) { s.Passwords.Path = filepath.Join(dir, "passwords") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := embedded.Settings{MQTT: &embedded.MQTT{Listen: anyPort}, NATS: &embedded.NATS{Listen: anyPort}}
			c.set(&s, dir)
			var before [2]string
			for range 2 {
				e := start(t, s)
				m, n := secret(t, filepath.Join(dir, "passwords", "mqtt.password")), secret(t,
					filepath.Join(dir, "passwords", "nats.password"))
				if m == n {
					t.Error("one password for both")
				}
				if before[0] != "" && before != [2]string{m, n} {
					t.Error("a restart makes other passwords")
				}
				before = [2]string{m, n}
				connect(t, e.NATSURL(), nats.UserInfo("nats", n)).Conn().Close()
				enter(t, e, as("mqtt", m)).Disconnect(0)
				for _, wrong := range [][2]string{{}, {"mqtt", m}, {"nats", ""}, {"nats", n + "x"}} {
					if nc, err := nats.Connect(e.NATSURL(), nats.UserInfo(wrong[0], wrong[1])); err == nil {
						nc.Close()
						t.Errorf("NATS lets %q in", wrong)
					}
				}
				for _, wrong := range [][2]string{{}, {"nats", n}, {"mqtt", ""}, {"mqtt", m[:len(m)-1]}} {
					if _, err := mqttClient(t, e.MQTTURL(), as(wrong[0], wrong[1])); err == nil {
						t.Errorf("MQTT lets %q in", wrong)
					}
				}
				stop(t, e)
			}
		})
	}
}

// S32: the password of a temporary store goes with it, and is no file in the working directory.
func TestS32PasswordOfATemporaryStore(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Chdir(t.TempDir())
	s := embedded.Settings{MQTT: &embedded.MQTT{Listen: anyPort}}
	seen := make(map[string]bool)
	for range 2 {
		e := start(t, s)
		found := must(filepath.Glob(filepath.Join(os.TempDir(), "*", "mqtt.password")))
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		seen[secret(t, found[0])] = true
		u := must(bridge.ParseURL(e.MQTTURL()))
		if err := s.Login([]bridge.URL{u}); err != nil || u.User != nil { // of another process
			t.Errorf("login: %v, %v", u.User, err)
		}
		stop(t, e)
	}
	for _, dir := range []string{os.TempDir(), "."} {
		if left := must(os.ReadDir(dir)); len(seen) != 2 || len(left) > 0 {
			t.Errorf("%d passwords, left behind: %v", len(seen), left)
		}
	}
}

// S32: a password that others can read or could have written is refused with the mends; in a shared
// folder it is used, as long as it is no link.
func TestS32PasswordOfOthers(t *testing.T) {
	const setting = "state: {shared: true}"
	for _, c := range []struct {
		name  string
		want  string // empty: used
		never bool   // not in a shared folder, either
		spoil func(t *testing.T, dir, file string)
	}{
		{
			"readable", "chmod 600 it if nobody has; where others share its folder on purpose, write " + setting, false,
			func(t *testing.T, dir, file string) {
				chmod(t, file, 0o644)
				chmod(t, dir, 0o755)
			},
		},
		{
			"writable", "chmod 600 it if nobody has", false,
			func(t *testing.T, dir, file string) { chmod(t, file, 0o620); chmod(t, dir, 0o710) },
		},
		{"readable in a folder that is closed", "", false, func(t *testing.T, _, file string) { chmod(t, file, 0o644) }},
		{"writable in a folder that is closed", "", false, func(t *testing.T, _, file string) { chmod(t, file, 0o660) }},
		{"folder writable by others", "chmod -R go-w ", false, func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777) }},
		{"a folder", "is a directory", true, func(t *testing.T, _,
			file string,
		) {
			check(t, os.Remove(file))
			check(t, os.Mkdir(file, 0o700))
		}},
		{"a link out of the folder", "is a symbolic link", true, func(t *testing.T, _, file string) {
			other := filepath.Join(t.TempDir(), "other")
			check(t, os.Rename(file, other))
			check(t, os.Symlink(other, file))
		}},
		{"of another user", "belongs to user 61234", false, func(t *testing.T, _, file string) { chown(t, file) }},
		{"folder of another user", setting, false, func(t *testing.T, dir, _ string) { chown(t, dir) }},
		{"fsGroup", setting, false, func(t *testing.T, dir, file string) {
			chown(t, file)
			for path, mode := range map[string]os.FileMode{dir: 0o770 | os.ModeSetgid, file: 0o660} {
				check(t, os.Chown(path, os.Geteuid(), 61234))
				chmod(t, path, mode)
			}
		}},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", c.name, shared), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "passwords")
				s := embedded.Settings{
					MQTT:      &embedded.MQTT{Listen: anyPort},
					Passwords: owned.Place{Path: dir, Shared: shared, Setting: setting},
				}
				stop(t, start(t, s))
				file := filepath.Join(dir, "mqtt.password")
				before := secret(t, file)
				c.spoil(t, dir, file)
				e, err := embedded.Start(t.Context(), s, nil)
				if used := c.want == "" || shared && !c.never; used {
					check(t, err)
					enter(t, e, as("mqtt", before)).Disconnect(0)
					stop(t, e)
					if !shared {
						secret(t, file) // its mode is mended
					}
					return
				}
				if err == nil {
					stop(t, e)
					t.Fatal("it is used")
				}
				if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func chown(t *testing.T, path string) {
	t.Helper()
	bridgetest.Root(t, "to give files away")
	if err := os.Chown(path, 61234, 61234); err != nil {
		t.Fatal(err)
	}
}

// S32: addresses that point at a server of this process get its user, others and those that name
// one do not.
func TestS32Login(t *testing.T) {
	p := bridge.NewSecret("p")
	own := embedded.Settings{
		MQTT: &embedded.MQTT{Listen: "127.0.0.1:21883", Username: "m", Password: p},
		NATS: &embedded.NATS{Listen: "localhost:4222", Username: "n", Password: p},
	}
	everywhere := embedded.Settings{MQTT: &embedded.MQTT{Listen: ":1883", Username: "m", Password: p}}
	open := embedded.Settings{
		MQTT: &embedded.MQTT{Listen: "127.0.0.1:21883", Open: true},
		NATS: &embedded.NATS{Listen: "127.0.0.1:4222", Open: true},
	}
	for _, c := range []struct {
		settings  embedded.Settings
		url, user string
	}{
		{own, "mqtt://127.0.0.1:21883", "m:p"},
		{own, "tcp://localhost:21883", "m:p"},
		{own, "mqtts://[::1]:21883", "m:p"},
		{own, "nats://127.0.0.1", "n:p"},
		{own, "tls://localhost:4222", "n:p"},
		{own, "nats://user@127.0.0.1:4222", "user"},
		{own, "mqtt://user:own@127.0.0.1:21883", "user:own"},
		{own, "mqtt://127.0.0.1", ""},
		{own, "mqtt://127.0.0.1:4222", ""},
		{own, "nats://127.0.0.1:21883", ""},
		{own, "mqtt://broker.example.com:21883", ""},
		{own, "mqtt://127.0.0.1.example.com:21883", ""},
		{own, "http://127.0.0.1:4222", ""},
		{everywhere, "mqtt://127.0.0.1", "m:p"},
		{everywhere, "mqtt://192.0.2.1", ""},
		{everywhere, "nats://127.0.0.1:1883", ""},
		{open, "mqtt://127.0.0.1:21883", ""},
		{open, "nats://127.0.0.1:4222", ""},
		{embedded.Settings{}, "mqtt://127.0.0.1:21883", ""},
	} {
		u := must(bridge.ParseURL(c.url))
		if err := c.settings.Login([]bridge.URL{{}, u}); err != nil {
			t.Error(err)
		}
		if got := u.User.String(); got != c.user {
			t.Errorf("%s: %q, want %q", c.url, got, c.user)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
