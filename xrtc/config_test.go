package xrtc_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		{name: "arguments beat all", config: xrtc.Config{AccountID: "ACarg", APIKey: "karg"}, env: env, files: map[string]string{"xrtc.env": file}, account: "ACarg", key: "karg"},
		{name: "an account alone is ignored", config: xrtc.Config{AccountID: "ACarg"}, env: env, account: "ACenv", key: "kenv"},
		{name: "a key alone is ignored", config: xrtc.Config{APIKey: "karg"}, env: env, account: "ACenv", key: "kenv"},
		{name: "environment beats the file", env: env, files: map[string]string{"xrtc.env": file}, account: "ACenv", key: "kenv"},
		{name: "environment in any letter case", env: []string{"account_id=ACenv", "Api_Key=kenv"}, account: "ACenv", key: "kenv"},
		{name: "one from each", env: []string{"API_KEY=kenv"}, files: map[string]string{"xrtc.env": file}, account: "ACfile", key: "kenv"},
		{name: "the file in the working directory", files: map[string]string{"xrtc.env": file}, account: "ACfile", key: "kfile"},
		{name: "the file in any letter case", files: map[string]string{"xrtc.env": "account_id=ACfile\napi_key=kfile\n"}, account: "ACfile", key: "kfile"},
		{name: "unknown names, comments, quotes", files: map[string]string{"xrtc.env": "# of the bridge\nWHAT=ever\nexport ACCOUNT_ID=\"ACfile\"\n\nAPI_KEY='kfile' # the first\n"}, account: "ACfile", key: "kfile"},
		{name: "a named file replaces it", config: xrtc.Config{CredentialsFile: "other.env"}, files: map[string]string{"xrtc.env": file, "other.env": "ACCOUNT_ID=ACother\nAPI_KEY=kother\n"}, account: "ACother", key: "kother"},
		{name: "the other named file does not", config: xrtc.Config{ConnectionFile: "other.env"}, files: map[string]string{"xrtc.env": file, "other.env": "ACCOUNT_ID=ACother\nAPI_KEY=kother\n"}, account: "ACfile", key: "kfile"},
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
	const file = "LOGIN_URL=http://f/v1/auth/login\nSET_URL=http://f/v1/item/set\nget_url=http://f/v1/item/get\n"
	at := func(base string) seen {
		return seen{Login: base + loginPath, Set: base + setPath, Get: base + getPath}
	}
	for _, test := range []struct {
		name   string
		config xrtc.Config
		env    []string
		files  map[string]string
		want   seen
	}{
		{name: "the public service", want: at("https://api.xrtc.org")},
		{name: "base URL", config: xrtc.Config{BaseURL: "http://b:1"}, env: []string{"SET_URL=http://e/x"}, want: at("http://b:1")},
		{name: "base URL with a slash and a path", config: xrtc.Config{BaseURL: "http://b/p/"}, want: at("http://b/p")},
		{name: "a URL beats the base", config: xrtc.Config{BaseURL: "http://b", SetURL: "http://b/set"}, want: seen{"", "", "http://b" + loginPath, "http://b/set", "http://b" + getPath}},
		{name: "the file", files: map[string]string{"xrtc.env": file}, want: at("http://f")},
		{name: "the environment beats the file", env: []string{"set_url=http://f/set"}, files: map[string]string{"xrtc.env": file}, want: seen{"", "", "http://f" + loginPath, "http://f/set", "http://f" + getPath}},
		{name: "a named file replaces it", config: xrtc.Config{ConnectionFile: "c.env"}, files: map[string]string{"xrtc.env": file, "c.env": ""}, want: at("https://api.xrtc.org")},
		{name: "the other named file does not", config: xrtc.Config{CredentialsFile: "c.env"}, files: map[string]string{"xrtc.env": file, "c.env": "SET_URL=http://c"}, want: at("http://f")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, test.files)
			test.config.Environ = append([]string{}, test.env...)
			test.config.AccountID, test.config.APIKey = "AC1", "k"
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
		{name: "only an account", config: xrtc.Config{AccountID: "AC1"}, env: []string{"ACCOUNT_ID=AC2"}, want: "API_KEY", is: xrtc.ErrNoCredentials},
		{name: "halves do not mix", config: xrtc.Config{AccountID: "AC1"}, env: []string{"API_KEY=k"}, want: "both", is: xrtc.ErrNoCredentials},
		{name: "named file is empty", config: xrtc.Config{CredentialsFile: "empty.env"}, want: "empty.env", is: xrtc.ErrNoCredentials},
		{name: "no credentials file", config: xrtc.Config{CredentialsFile: "no.env"}, want: "read no.env", is: fs.ErrNotExist},
		{name: "no connection file", config: with(func(c *xrtc.Config) { c.ConnectionFile = "no.env" }), want: "read no.env", is: fs.ErrNotExist},
		{name: "not a dotenv file", config: with(func(c *xrtc.Config) { c.ConnectionFile = "bad.env" }), want: "bad.env: not a dotenv file"},
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
		{name: "environment", env: []string{"serialized_json_size_max=500"}, size: 500, want: "SERIALIZED_JSON_SIZE_MAX is 500"},
		{name: "config", config: xrtc.Config{RequestSizeMax: 400}, env: []string{"SERIALIZED_JSON_SIZE_MAX=500"}, size: 400, want: "is 400"},
		{name: "announced", header: "payload-size-max=300", size: 300, want: "PAYLOAD_SIZE_MAX of the server is 300"},
		{name: "announced more", config: xrtc.Config{RequestSizeMax: 400}, header: "payload-size-max=500", size: 400, want: "SERIALIZED_JSON_SIZE_MAX is 400"},
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
