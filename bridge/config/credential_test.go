package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// A credential is read from where systemd leaves it, and what is missing is told with the mend.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"mqtt-password": "hush\n", "unix.pem": "a\nb", "x": "${HOME}\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	const (
		unit      = ":/path/to/file into the unit's section [Service]"
		malformed = "f:1:9: ${cred:…} does not name a credential; write ${cred:NAME}, with the NAME of " +
			"LoadCredential=NAME:/path/to/file in the unit; there is no default"
	)
	for _, c := range []struct{ in, dir, want string }{
		{"${cred:mqtt-password}", dir, "hush"},
		{"a${cred:mqtt-password}b${cred:x}", dir, "ahushb${HOME}"},
		{"${cred:unix.pem}", dir, "a\nb"},
		{"$${cred:mqtt-password}", dir, "${cred:mqtt-password}"},
		{
			"${cred:mqtt-pasword}", dir,
			"f:1:9: there is no credential mqtt-pasword: stat DIR/mqtt-pasword: no such file or directory; " +
				"did you mean mqtt-password? or write LoadCredential=mqtt-pasword" + unit + ", and restart it",
		},
		{"${cred:token}", dir, "f:1:9: there is no credential token: stat DIR/token: no such file or directory; " +
			"write LoadCredential=token" + unit + ", and restart it"},
		{"${cred:token}", "", "f:1:9: there is no credential token: CREDENTIALS_DIRECTORY is not set, " +
			"as systemd does for a unit " +
			"that has credentials; write LoadCredential=token" + unit + "; without systemd, let CREDENTIALS_DIRECTORY be a " +
			"folder with the file token"},
		{"${cred:folder}", dir, "f:1:9: ${cred:folder}: DIR/folder is not a regular file"},
		{"${cred:}", dir, malformed},
		{"${cred:..}", dir, malformed},
		{"${cred:.}", dir, malformed},
		{"${cred:../shadow}", dir, malformed},
		{"${cred:/etc/shadow}", dir, malformed},
		{"${cred:x:-default}", dir, malformed},
		{"${cred: x}", dir, malformed},
	} {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, []byte("value: '"+c.in+"'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Value string `yaml:"value"`
		}
		l := config.Loader{Getenv: func(name string) (string, bool) {
			return c.dir, name == "CREDENTIALS_DIRECTORY" && c.dir != ""
		}}
		err := l.Decode(file, &got)
		if err != nil {
			got.Value = strings.NewReplacer(file, "f", dir, "DIR").Replace(err.Error())
		}
		if diff := cmp.Diff(c.want, got.Value); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
	}
}
