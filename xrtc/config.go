package xrtc

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/joho/godotenv"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// DefaultFile is the dotenv file that is read unless Config names another.
const DefaultFile = "xrtc.env"

// The addresses of the public service.
const (
	DefaultBaseURL = "https://api.xrtc.org"
	loginPath      = "/v1/auth/login"
	setPath        = "/v1/item/set"
	getPath        = "/v1/item/get"
)

// Config says how to reach a server. The zero value takes everything from the environment or
// xrtc.env. It does not print account id and key.
type Config struct {
	// AccountID and APIKey count only if both are given.
	AccountID string
	APIKey    string

	// BaseURL, such as http://localhost:28080, stands for the three URLs.
	BaseURL string

	// The URLs of the calls. Those that are empty come from BaseURL, the environment, the file, or
	// are those of the public service. In xrtc.env, which nobody has named, they are an error
	// unless account id and key come from there, too: a folder in which a program is started must
	// not say where they go.
	LoginURL, SetURL, GetURL string

	// CredentialsFile and ConnectionFile are read instead of xrtc.env, for account id and key
	// and for everything else. Only a file that is named here must exist. A file that is another
	// user's, or that others can write to, is an error.
	CredentialsFile, ConnectionFile string

	// RequestSizeMax is the most bytes of a request; 0 means SERIALIZED_JSON_SIZE_MAX of the
	// environment or file, or else the constant RequestSizeMax.
	RequestSizeMax int

	// Limiter, if not nil, is asked before each set and get. A *rate.Limiter of golang.org/x/time
	// fits.
	Limiter Limiter

	TLS    *tls.Config  // nil: the system's root certificates
	Logger *slog.Logger // nil discards

	// Transport does the requests; nil means a new one with connections of its own.
	Transport http.RoundTripper

	// Environ is the environment as os.Environ returns it; nil means that.
	Environ []string
}

// Limiter holds requests back. Wait returns when the next one may go, or the error of ctx.
type Limiter interface {
	Wait(ctx context.Context) error
}

// String returns the configuration without account id and key.
func (c Config) String() string {
	return fmt.Sprintf("xrtc.Config{BaseURL: %q, LoginURL: %q, SetURL: %q, GetURL: %q}",
		showText(c.BaseURL), showText(c.LoginURL), showText(c.SetURL), showText(c.GetURL))
}

// Format prints what String returns, for every verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// MarshalText gives what String returns, which covers JSON.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue gives what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// CheckForm returns an error if account id and key, wherever they come from, cannot be any of a
// server of this package or of the public service. An error names ACCOUNT_ID or API_KEY, and shows
// neither. Without credentials it is [ErrNoCredentials].
func (c Config) CheckForm() error {
	to, err := c.resolve()
	if err != nil {
		return err
	}
	if err := CheckAccountID(*to.account); err != nil {
		return fmt.Errorf("ACCOUNT_ID: %w", err)
	}
	if err := CheckAPIKey(*to.key); err != nil {
		return fmt.Errorf("API_KEY: %w", err)
	}
	return nil
}

// CheckAccountID returns an error, which does not show it, if that can be no account id.
func CheckAccountID(id string) error { return formError(wire.CheckAccountID(id)) }

// CheckAPIKey returns an error, which does not show it, if that can be no API key.
func CheckAPIKey(key string) error { return formError(wire.CheckAPIKey(key)) }

func formError(bad string) error {
	if bad == "" {
		return nil
	}
	return requestError(bad)
}

// resolved is a Config with everything filled in.
type resolved struct {
	account, key    *string // pointers, which no verb of fmt follows, not even a wrong one
	login, set, get *url.URL
	sizeMax         int
}

// resolve fills in what c leaves open.
func (c Config) resolve() (*resolved, error) {
	environ := c.Environ
	if environ == nil {
		environ = os.Environ()
	}
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[strings.ToUpper(name)] = value
	}
	account, key := c.AccountID, c.APIKey
	if account == "" || key == "" {
		account, key = env["ACCOUNT_ID"], env["API_KEY"]
	}
	// with the addresses of the file
	trusted := c.ConnectionFile != "" || c.CredentialsFile == "" && account == "" && key == ""
	var credentials map[string]string
	var err error
	if c.CredentialsFile != "" || account == "" || key == "" {
		if credentials, err = readFile(c.CredentialsFile); err != nil {
			return nil, err
		}
	}
	account, key = cmp.Or(account, credentials["ACCOUNT_ID"]), cmp.Or(key, credentials["API_KEY"])
	if account == "" || key == "" {
		return nil, fmt.Errorf("%w: set ACCOUNT_ID and API_KEY in the environment or in the file %s, or give both",
			ErrNoCredentials, cmp.Or(c.CredentialsFile, DefaultFile))
	}
	connection, err := readFile(c.ConnectionFile)
	if err != nil && (c.ConnectionFile != "" || !c.hasAddresses(env)) {
		return nil, err
	}
	r := &resolved{account: &account, key: &key}
	for _, u := range []struct {
		to    **url.URL
		given string
		name  string
		path  string
	}{
		{&r.login, c.LoginURL, "LOGIN_URL", loginPath},
		{&r.set, c.SetURL, "SET_URL", setPath},
		{&r.get, c.GetURL, "GET_URL", getPath},
	} {
		text, name := u.given, u.name
		if text == "" && c.BaseURL != "" {
			text, name = strings.TrimSuffix(c.BaseURL, "/")+u.path, "base URL"
		}
		if text == "" {
			text = env[u.name]
		}
		if text == "" && connection[u.name] != "" && !trusted {
			return nil, fmt.Errorf("%w: %s of %s, which would get account and key that do not come from there: "+
				"set %[2]s in the environment, name the file, or put ACCOUNT_ID and API_KEY into it", ErrConfig, u.name,
				DefaultFile)
		}
		if *u.to, err = parseURL(cmp.Or(text, connection[u.name], DefaultBaseURL+u.path)); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
		}
	}
	r.sizeMax, err = c.sizeMax(cmp.Or(env["SERIALIZED_JSON_SIZE_MAX"], connection["SERIALIZED_JSON_SIZE_MAX"]))
	return r, err
}

// hasAddresses reports whether no address has to come from a file.
func (c Config) hasAddresses(env map[string]string) bool {
	return c.BaseURL != "" || cmp.Or(c.LoginURL, env["LOGIN_URL"]) != "" && cmp.Or(c.SetURL, env["SET_URL"]) != "" &&
		cmp.Or(c.GetURL, env["GET_URL"]) != ""
}

func (c Config) sizeMax(text string) (int, error) {
	switch {
	case c.RequestSizeMax > 0:
		return c.RequestSizeMax, nil
	case text == "":
		return RequestSizeMax, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("SERIALIZED_JSON_SIZE_MAX: %q is not a number of bytes", text)
	}
	return n, nil
}

// readFile reads a dotenv file, by default one that need not be there.
func readFile(name string) (map[string]string, error) {
	named := name != ""
	if !named {
		name = DefaultFile
	}
	text, err := owned.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read %s: %w", ErrConfig, name, err)
	}
	values, err := godotenv.UnmarshalBytes(text)
	if err != nil { // the library quotes what it read
		return nil, fmt.Errorf("%w: read %s: not a dotenv file, whose lines are NAME=value", ErrConfig, name)
	}
	upper := make(map[string]string, len(values))
	for k, v := range values {
		upper[strings.ToUpper(k)] = v
	}
	return upper, nil
}

// parseURL does not quote what may hold a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("not a URL that begins with http:// or https://")
	}
	return u, nil
}

// inTheClear returns the first address to which account id, key and items go over a network without
// TLS, or nothing.
func (r *resolved) inTheClear() string {
	for _, u := range []*url.URL{r.login, r.set, r.get} {
		ip := net.ParseIP(u.Hostname())
		if loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme == "http" && !loopback {
			return show(u)
		}
	}
	return ""
}

// show returns a URL without what may be secret in it.
func show(u *url.URL) string {
	shown := *u
	shown.User, shown.RawQuery, shown.Fragment = nil, "", ""
	return shown.String()
}

// showText is show of a URL that has not been looked at.
func showText(text string) string {
	if text == "" {
		return ""
	}
	u, err := parseURL(text)
	if err != nil {
		return "?"
	}
	return show(u)
}
