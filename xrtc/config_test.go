package xrtc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
)

// seen is what a client with a configuration does.
type seen struct{ Account, Key, Login, Set, Get string }

func see(t *testing.T, c xrtc.Config) (seen, error) {
	t.Helper()
	var s seen
	c.Transport = agreeable(func(r *http.Request, body string) {
		switch u := r.URL.String(); {
		case strings.HasPrefix(body, `{"accountid"`):
			var login struct{ AccountID, APIKey string }
			if err := json.Unmarshal([]byte(body), &login); err != nil {
				t.Errorf("login %q: %v", body, err)
			}
			s.Account, s.Key, s.Login = login.AccountID, login.APIKey, u
		case strings.HasPrefix(body, `{"items"`):
			s.Set = u
		default:
			s.Get = u
		}
	})
	client, err := xrtc.Open(t.Context(), c)
	if err != nil {
		return s, err
	}
	defer client.Close()
	if _, err := client.Set(t.Context(), xrtc.Item{PortalID: "a"}); err != nil {
		t.Error(err)
	}
	if _, err := client.Get(t.Context(), xrtc.GetRequest{}); err != nil {
		t.Error(err)
	}
	return s, nil
}

func write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenCredentials(t *testing.T) {
	const file = "ACCOUNT_ID=ACfile\nAPI_KEY=kfile\n"
	env := []string{"ACCOUNT_ID=ACenv", "API_KEY=kenv"}
	for _, test := range []struct {
		name         string
		config       xrtc.Config
		env          []string
		files        map[string]string
		account, key string
	}{
		{
			name: "arguments beat all", config: xrtc.Config{AccountID: "ACarg", APIKey: "karg"}, env: env,
			files: map[string]string{"xrtc.env": file}, account: "ACarg", key: "karg",
		},
		{
			name: "an account alone is ignored", config: xrtc.Config{AccountID: "ACarg"}, env: env, account: "ACenv",
			key: "kenv",
		},
		{name: "a key alone is ignored", config: xrtc.Config{APIKey: "karg"}, env: env, account: "ACenv", key: "kenv"},
		{
			name: "environment beats the file", env: env, files: map[string]string{"xrtc.env": file}, account: "ACenv",
			key: "kenv",
		},
		{
			name: "environment in any letter case", env: []string{"account_id=ACenv", "Api_Key=kenv"}, account: "ACenv",
			key: "kenv",
		},
		{
			name: "one from each", env: []string{"API_KEY=kenv"}, files: map[string]string{"xrtc.env": file},
			account: "ACfile", key: "kenv",
		},
		{
			name: "the file in the working directory", files: map[string]string{"xrtc.env": file}, account: "ACfile",
			key: "kfile",
		},
		{
			name:  "the file in any letter case",
			files: map[string]string{"xrtc.env": "account_id=ACfile\napi_key=kfile\n"}, account: "ACfile", key: "kfile",
		},
		{name: "unknown names, comments, quotes", files: map[string]string{"xrtc.env": "# of the bridge\nWHAT=ever\n" +
			"export ACCOUNT_ID=\"ACfile\"\n\nAPI_KEY='kfile' # the first\n"}, account: "ACfile", key: "kfile"},
		{
			name: "a named file replaces it", config: xrtc.Config{CredentialsFile: "other.env"},
			files:   map[string]string{"xrtc.env": file, "other.env": "ACCOUNT_ID=ACother\nAPI_KEY=kother\n"},
			account: "ACother", key: "kother",
		},
		{
			name: "the other named file does not", config: xrtc.Config{ConnectionFile: "other.env"},
			files:   map[string]string{"xrtc.env": file, "other.env": "ACCOUNT_ID=ACother\nAPI_KEY=kother\n"},
			account: "ACfile", key: "kfile",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, test.files)
			test.config.Environ = append([]string{}, test.env...)
			got, err := see(t, test.config)
			if err != nil {
				t.Fatal(err)
			}
			if got.Account != test.account || got.Key != test.key {
				t.Errorf("got %s %s, want %s %s", got.Account, got.Key, test.account, test.key)
			}
		})
	}
}

func TestOpenTakesTheEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("ACCOUNT_ID", "ACreal")
	t.Setenv("API_KEY", "kreal")
	got, err := see(t, xrtc.Config{})
	if err != nil || got.Account != "ACreal" || got.Key != "kreal" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOpenURLs(t *testing.T) {
	const file = "ACCOUNT_ID=AC1\nAPI_KEY=k\nLOGIN_URL=http://f/v1/auth/login\nSET_URL=http://f/v1/item/set\n" +
		"get_url=http://f/v1/item/get\n"
	at := func(base string) seen {
		return seen{Login: base + loginPath, Set: base + setPath, Get: base + getPath}
	}
	env := []string{"ACCOUNT_ID=AC1", "API_KEY=k"}
	key := xrtc.Config{AccountID: "AC1", APIKey: "k"}
	named := key
	named.ConnectionFile = "c.env"
	base := xrtc.Config{BaseURL: "http://b"}
	for _, test := range []struct {
		name   string
		config xrtc.Config
		env    []string
		files  map[string]string
		want   seen
	}{
		{name: "the public service", config: key, want: at("https://api.xrtc.org")},
		{
			name: "base URL", config: xrtc.Config{BaseURL: "http://b:1"}, env: append(env, "SET_URL=http://e/x"),
			want: at("http://b:1"),
		},
		{
			name: "base URL with a slash and a path", config: xrtc.Config{BaseURL: "http://b/p/"}, env: env,
			want: at("http://b/p"),
		},
		{
			name: "base URL and the file", config: base, env: env, files: map[string]string{"xrtc.env": file},
			want: at("http://b"),
		},
		{
			name: "a URL beats the base", config: xrtc.Config{BaseURL: "http://b", SetURL: "http://b/set"}, env: env,
			want: seen{"", "", "http://b" + loginPath, "http://b/set", "http://b" + getPath},
		},
		{name: "the file", files: map[string]string{"xrtc.env": file}, want: at("http://f")},
		{
			name: "the environment beats the file", env: []string{"set_url=http://f/set"},
			files: map[string]string{"xrtc.env": file},
			want:  seen{"", "", "http://f" + loginPath, "http://f/set", "http://f" + getPath},
		},
		{
			name: "a named file replaces it", config: named, files: map[string]string{"xrtc.env": file, "c.env": ""},
			want: at("https://api.xrtc.org"),
		},
		{
			name: "a named file and other credentials", config: xrtc.Config{ConnectionFile: "c.env"}, env: env,
			files: map[string]string{"c.env": file}, want: at("http://f"),
		},
		{name: "the environment alone", env: append(env, "LOGIN_URL=http://f"+loginPath, "SET_URL=http://f"+setPath,
			"GET_URL=http://f"+getPath), files: map[string]string{"xrtc.env": file}, want: at("http://f")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, test.files)
			test.config.Environ = append([]string{}, test.env...)
			test.want.Account, test.want.Key = "AC1", "k"
			got, err := see(t, test.config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

// S40: addresses in xrtc.env, which lies in whatever folder a program is started in, get no account
// and key from elsewhere.
func TestS40AddressesComeWithTheCredentials(t *testing.T) {
	const both = "ACCOUNT_ID=AC1\nAPI_KEY=k\n"
	for name, from := range map[string]struct {
		config xrtc.Config
		env    []string
		files  map[string]string
	}{
		"environment":           {env: []string{"ACCOUNT_ID=AC1", "API_KEY=k"}},
		"environment and file":  {env: []string{"API_KEY=k"}, files: map[string]string{"xrtc.env": both}},
		"environment over file": {env: []string{"ACCOUNT_ID=AC2", "API_KEY=k2"}, files: map[string]string{"xrtc.env": both}},
		"arguments":             {config: xrtc.Config{AccountID: "AC1", APIKey: "k"}},
		"another file":          {config: xrtc.Config{CredentialsFile: "c.env"}, files: map[string]string{"c.env": both}},
	} {
		for _, address := range []string{"LOGIN_URL", "SET_URL", "get_url"} {
			t.Run(name+"/"+address, func(t *testing.T) {
				t.Chdir(t.TempDir())
				write(t, from.files)
				write(t, map[string]string{"xrtc.env": from.files["xrtc.env"] + address + "=http://attacker/\n"})
				from.config.Environ = append([]string{}, from.env...)
				got, err := see(t, from.config)
				if want := strings.ToUpper(address) + " of xrtc.env"; !errors.Is(err, xrtc.ErrConfig) ||
					!strings.Contains(err.Error(), want) || got != (seen{}) {
					t.Errorf("sent %+v, %v, want %q", got, err, want)
				}
			})
		}
	}
}

// S40: a file that another user has written, or could have, is not read.
func TestS40FilesOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		want  string
		spoil func(t *testing.T, file string) error
	}{
		"another user's": {"belongs to user 4711", func(t *testing.T, file string) error { return give(t, file) }},
		"another user's link": {"belongs to user 4711", func(t *testing.T, file string) error {
			return errors.Join(os.Rename(file, "real.env"), os.Symlink("real.env", file), give(t, file))
		}},
		"writable by all": {"chmod o-w ", func(_ *testing.T, file string) error { return os.Chmod(file, 0o606) }},
	} {
		for file, config := range map[string]xrtc.Config{
			"xrtc.env": {}, "named.env": {CredentialsFile: "named.env"}, "address.env": {
				AccountID: "AC1",
				APIKey:    "k", ConnectionFile: "address.env",
			},
		} {
			t.Run(name+"/"+file, func(t *testing.T) {
				t.Chdir(t.TempDir())
				write(t, map[string]string{file: "ACCOUNT_ID=AC1\nAPI_KEY=k\nLOGIN_URL=http://attacker/\n"})
				if err := c.spoil(t, file); err != nil {
					t.Fatal(err)
				}
				config.Environ = []string{}
				got, err := see(t, config)
				if err == nil || !strings.Contains(err.Error(), "read "+file+": "+file) ||
					!strings.Contains(err.Error(), c.want) || got != (seen{}) {
					t.Errorf("sent %+v, %v, want %q", got, err, c.want)
				}
			})
		}
	}
}

// S40: a file of another user is no hindrance to whom nothing of it is needed.
func TestS40FileThatIsNotNeeded(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, map[string]string{"xrtc.env": "ACCOUNT_ID=AC2\nLOGIN_URL=http://attacker/\n"})
	if err := os.Chmod("xrtc.env", 0o606); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]xrtc.Config{
		"arguments": {AccountID: "AC1", APIKey: "k", BaseURL: "http://localhost"},
		"environment": {Environ: []string{
			"ACCOUNT_ID=AC1", "API_KEY=k", "LOGIN_URL=http://localhost" + loginPath,
			"SET_URL=http://localhost", "GET_URL=http://localhost",
		}},
	} {
		if got, err := see(t, c); err != nil || got.Account != "AC1" || got.Login != "http://localhost"+loginPath {
			t.Errorf("%s: sent %+v, %v", name, got, err)
		}
	}
}

// give makes a file another user's.
func give(t *testing.T, file string) error {
	t.Helper()
	bridgetest.Root(t, "to give a file away")
	return os.Lchown(file, 4711, 4711)
}

// S40: what goes over a network without TLS is warned of.
func TestS40WarnsOfHTTP(t *testing.T) {
	for base, warned := range map[string]bool{
		"http://portals.example": true, "http://10.0.0.1:28080": true, "http://localhost.example": true,
		"https://portals.example": false, "http://localhost:28080": false, "http://127.0.0.1:1": false,
		"http://[::1]:1": false,
	} {
		var log bytes.Buffer
		c := xrtc.Config{
			AccountID: "AC1", APIKey: "k", BaseURL: base, Environ: []string{},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		if _, err := see(t, c); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "level=WARN") &&
			strings.Contains(log.String(), "in the clear"); got != warned {
			t.Errorf("%s: warned is %t: %s", base, got, log.String())
		}
	}
}

func TestOpenRefusesBeforeItSends(t *testing.T) {
	both := xrtc.Config{AccountID: "AC1", APIKey: "k"}
	with := func(change func(*xrtc.Config)) xrtc.Config {
		c := both
		change(&c)
		return c
	}
	for _, test := range []struct {
		name   string
		config xrtc.Config
		env    []string
		want   string
		is     error
	}{
		{name: "nothing", want: "xrtc.env", is: xrtc.ErrNoCredentials},
		{
			name: "only an account", config: xrtc.Config{AccountID: "AC1"}, env: []string{"ACCOUNT_ID=AC2"},
			want: "API_KEY", is: xrtc.ErrNoCredentials,
		},
		{
			name: "halves do not mix", config: xrtc.Config{AccountID: "AC1"}, env: []string{"API_KEY=k"}, want: "both",
			is: xrtc.ErrNoCredentials,
		},
		{
			name: "named file is empty", config: xrtc.Config{CredentialsFile: "empty.env"}, want: "empty.env",
			is: xrtc.ErrNoCredentials,
		},
		{
			name: "no credentials file", config: xrtc.Config{CredentialsFile: "no.env"}, want: "read no.env",
			is: fs.ErrNotExist,
		},
		{
			name: "no connection file", config: with(func(c *xrtc.Config) { c.ConnectionFile = "no.env" }),
			want: "read no.env", is: fs.ErrNotExist,
		},
		{
			name: "not a dotenv file", config: with(func(c *xrtc.Config) { c.ConnectionFile = "bad.env" }),
			want: "bad.env: not a dotenv file",
		},
		{name: "not a URL", config: with(func(c *xrtc.Config) { c.BaseURL = "localhost:80" }), want: "base URL: not a URL"},
		{name: "not HTTP", config: both, env: []string{"GET_URL=ftp://h/get"}, want: "GET_URL: not a URL"},
		{name: "no number", config: both, env: []string{"SERIALIZED_JSON_SIZE_MAX=64k"}, want: "SERIALIZED_JSON_SIZE_MAX"},
		{name: "no size", config: both, env: []string{"SERIALIZED_JSON_SIZE_MAX=0"}, want: "SERIALIZED_JSON_SIZE_MAX"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, map[string]string{"empty.env": "", "bad.env": "{\"json\": true}"})
			test.config.Environ = append([]string{}, test.env...)
			test.config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				t.Error("something was sent")
				return nil, errors.ErrUnsupported
			})
			_, err := xrtc.Open(t.Context(), test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %q and %v", err, test.want, test.is)
			}
			if xrtc.IsTemporary(err) && errors.Is(err, xrtc.ErrNoCredentials) {
				t.Error("it is temporary")
			}
		})
	}
}

func TestRequestSizeMax(t *testing.T) {
	for _, test := range []struct {
		name   string
		config xrtc.Config
		env    []string
		header string
		size   int // the most
		want   string
	}{
		{name: "default", size: 65536, want: "SERIALIZED_JSON_SIZE_MAX is 65536"},
		{
			name: "environment", env: []string{"serialized_json_size_max=500"}, size: 500,
			want: "SERIALIZED_JSON_SIZE_MAX is 500",
		},
		{
			name: "config", config: xrtc.Config{RequestSizeMax: 400}, env: []string{"SERIALIZED_JSON_SIZE_MAX=500"},
			size: 400, want: "is 400",
		},
		{
			name: "announced", header: `{"payload-size-max":300,"portals-count-max":2}`, size: 300,
			want: "PAYLOAD_SIZE_MAX of the server is 300",
		},
		{
			name: "announced more", config: xrtc.Config{RequestSizeMax: 400}, header: `{"payload-size-max":500}`,
			size: 400, want: "SERIALIZED_JSON_SIZE_MAX is 400",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			test.config.AccountID, test.config.APIKey, test.config.Environ = "AC1", "k", append([]string{}, test.env...)
			sent := 0
			next := agreeable(func(*http.Request, string) { sent++ })
			test.config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				resp, err := next(r)
				resp.Header.Set("Xrtc-Limits", test.header)
				return resp, err
			})
			c := open(t, test.config)
			fits := strings.Repeat("x", test.size-xrtc.SizeOf("a", nil))
			if _, err := c.Set(t.Context(), xrtc.Item{PortalID: "a", Payload: fits}); err != nil {
				t.Errorf("what fits: %v", err)
			}
			before := sent
			_, err := c.Set(t.Context(), xrtc.Item{PortalID: "a", Payload: fits + "x"})
			if !errors.Is(err, xrtc.ErrTooLarge) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			_, err = c.Get(t.Context(), xrtc.GetRequest{Portals: many(test.size / 30)})
			if !errors.Is(err, xrtc.ErrTooLarge) {
				t.Errorf("get of many portals: %v", err)
			}
			if sent != before {
				t.Error("it was sent")
			}
		})
	}
}

// many returns portals with the longest of names.
func many(n int) []xrtc.Portal {
	all := make([]xrtc.Portal, n)
	for i := range all {
		all[i].ID = strings.Repeat("x", xrtc.PortalIDMax)
	}
	return all
}
