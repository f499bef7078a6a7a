package xrtc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/joho/godotenv"
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

// Config says how to reach a server. The zero value takes everything from the environment or xrtc.env. It does not print
// account id and key.
type Config struct {
	// AccountID and APIKey count only if both are given.
	AccountID string
	APIKey    string

	// BaseURL, such as http://localhost:28080, stands for the three URLs.
	BaseURL string

	// The URLs of the calls. Those that are empty come from BaseURL, the environment, the file, or are those of the public service.
	LoginURL, SetURL, GetURL string

	// CredentialsFile and ConnectionFile are read instead of xrtc.env, for account id and key
	// and for everything else. Only a file that is named here must exist.
	CredentialsFile, ConnectionFile string

	// RequestSizeMax is the most bytes of a request; 0 means SERIALIZED_JSON_SIZE_MAX of the
	// environment or file, or else the constant RequestSizeMax.
	RequestSizeMax int

	// Limiter, if not nil, is asked before each set and get. A *rate.Limiter of golang.org/x/time fits.
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
	credentials, err := readFile(c.CredentialsFile)
	if err != nil {
		return nil, err
	}
	connection, err := readFile(c.ConnectionFile)
	if err != nil {
		return nil, err
	}
	account, key := c.AccountID, c.APIKey
	if account == "" || key == "" {
		account, key = first(env, credentials, "ACCOUNT_ID"), first(env, credentials, "API_KEY")
	}
	if account == "" || key == "" {
		file := DefaultFile
		if c.CredentialsFile != "" {
			file = c.CredentialsFile
		}
		return nil, fmt.Errorf("%w: set ACCOUNT_ID and API_KEY in the environment or in the file %s, or give both", ErrNoCredentials, file)
	}
	r := &resolved{account: &account, key: &key}
	for _, u := range []struct {
		to    **url.URL
		given string
		name  string
		path  string
	}{{&r.login, c.LoginURL, "LOGIN_URL", loginPath}, {&r.set, c.SetURL, "SET_URL", setPath}, {&r.get, c.GetURL, "GET_URL", getPath}} {
		text, name := u.given, u.name
		if text == "" && c.BaseURL != "" {
			text, name = strings.TrimSuffix(c.BaseURL, "/")+u.path, "base URL"
		}
		if text == "" {
			text = first(env, connection, u.name)
		}
		if text == "" {
			text = DefaultBaseURL + u.path
		}
		if *u.to, err = parseURL(text); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
		}
	}
	r.sizeMax, err = c.sizeMax(first(env, connection, "SERIALIZED_JSON_SIZE_MAX"))
	return r, err
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

func first(env, file map[string]string, name string) string {
	if v := env[name]; v != "" {
		return v
	}
	return file[name]
}

// readFile reads a dotenv file, by default one that need not be there.
func readFile(name string) (map[string]string, error) {
	named := name != ""
	if !named {
		name = DefaultFile
	}
	values, err := godotenv.Read(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	var path *fs.PathError
	if err != nil && !errors.As(err, &path) {
		err = errors.New("not a dotenv file, whose lines are NAME=value") // the library quotes what it read
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
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
