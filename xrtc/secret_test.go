package xrtc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

const (
	secretAccount = "AC7352910884620173"
	secretKey     = "Zq3vKd81LmXw90TbYs47RgHc25NfUjPe"
	secretUser    = "hjk23hjk2Password"
)

// checkNoSecret fails if text shows a secret, plain or in disguise.
func checkNoSecret(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range []string{secretAccount, secretKey, secretUser} {
		for _, form := range []string{
			secret, base64.StdEncoding.EncodeToString([]byte(secret)),
			hex.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				t.Errorf("%s shows a secret: %s", what, text)
			}
		}
	}
}

func secretConfig() xrtc.Config {
	return xrtc.Config{
		AccountID: secretAccount, APIKey: secretKey, BaseURL: "http://" + secretUser + ":" + secretUser + "@portal.test",
		LoginURL: "http://portal.test" + loginPath + "?token=" + secretUser,
		GetURL:   "http://portal.test/" + getPath + "#" + secretUser,
		Environ:  []string{"ACCOUNT_ID=" + secretAccount, "API_KEY=" + secretKey},
	}
}

// %p cannot be helped: fmt asks no method, and go vet refuses it for a struct.
func TestConfigShowsNoSecret(t *testing.T) {
	c := secretConfig()
	broken := c
	broken.BaseURL = ":" + secretUser
	type outer struct {
		Config  xrtc.Config
		Pointer *xrtc.Config
	}
	c.Transport = agreeable(func(*http.Request, string) {})
	client := open(t, c)
	for name, v := range map[string]any{
		"value": c, "pointer": &c, "struct": outer{c, &c}, "slice": []xrtc.Config{c}, "broken": broken, "client": client,
		"holder of a client": struct{ c *xrtc.Client }{client},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "% x", "%+q", "%t", "%e"} {
			checkNoSecret(t, name+" "+verb, fmt.Sprintf(verb, v))
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkNoSecret(t, name+" JSON", string(text))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "config", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("JSON", "config", v)
		checkNoSecret(t, name+" slog", log.String())
		checkNoSecret(t, name+" error", fmt.Errorf("%v %w", v, errors.New("x")).Error())
	}
	if got := c.String(); !strings.Contains(got, `BaseURL: "http://portal.test"`) {
		t.Errorf("got %s, which does not tell the host", got)
	}
}

// parrots answer in ways that send back what they got.
var parrots = map[string]func(w http.ResponseWriter, sent string){
	"API error": func(w http.ResponseWriter, sent string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(
			map[string]any{"error": map[string]any{"errorgroup": 4, "errorcode": 35, "errormessage": "wrong: " + sent}})
	},
	"error of status 200": func(w http.ResponseWriter, sent string) {
		_ = json.NewEncoder(w).Encode(
			map[string]any{"error": map[string]any{"errorgroup": 4, "errorcode": 30, "errormessage": sent}})
	},
	"page":     func(w http.ResponseWriter, sent string) { http.Error(w, sent, http.StatusInternalServerError) },
	"not JSON": func(w http.ResponseWriter, sent string) { _, _ = io.WriteString(w, "{"+sent) },
	"odd JSON": func(w http.ResponseWriter, sent string) {
		_, _ = io.WriteString(w, `{"`+secretKey+`":01,"items":"`+secretKey+`"}`)
	},
	"redirect": func(w http.ResponseWriter, sent string) {
		w.Header().Set("Location", "http://other.test/"+secretKey)
		w.WriteHeader(http.StatusFound)
	},
	"short": func(w http.ResponseWriter, sent string) {
		w.Header().Set("Content-Length", "5000")
		_, _ = io.WriteString(w, sent)
	},
	"not HTTP":   func(w http.ResponseWriter, sent string) { raw(w, sent+"\r\n\r\n") },
	"odd status": func(w http.ResponseWriter, sent string) { raw(w, "HTTP/1.1 "+secretKey+" \r\n\r\n") },
	"odd header": func(w http.ResponseWriter, sent string) { raw(w, "HTTP/1.1 200 OK\r\n"+sent+"\r\n\r\n") },
	"odd length": func(w http.ResponseWriter, sent string) {
		raw(w, "HTTP/1.1 200 OK\r\nContent-Length: "+secretKey+"\r\n\r\n")
	},
	"odd coding": func(w http.ResponseWriter, sent string) {
		raw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: "+secretKey+"\r\n\r\n")
	},
	"odd chunks": func(w http.ResponseWriter, sent string) {
		raw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+secretKey+"\r\n\r\n")
	},
	"no more":     func(w http.ResponseWriter, sent string) { raw(w, "") },
	"odd version": func(w http.ResponseWriter, sent string) { raw(w, secretKey+" 200 OK\r\n\r\n") },
}

func raw(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

func TestErrorsShowNoSecret(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	check := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("there is no error")
		}
		for ; err != nil; err = errors.Unwrap(err) {
			checkNoSecret(t, "error", fmt.Sprintf("%v %+v %#v %q", err, err, err, err))
			if text, err := json.Marshal(err); err == nil {
				checkNoSecret(t, "error as JSON", string(text))
			}
		}
	}
	for name, parrot := range parrots {
		for _, path := range []string{loginPath, setPath} {
			t.Run(name+path, func(t *testing.T) {
				g := newGate(t, quick())
				key, err := server.ParseKey(secretKey)
				if err != nil {
					t.Fatal(err)
				}
				if g.server, err = server.New(
					server.Config{Accounts: []server.Account{{ID: secretAccount, Keys: []server.Key{key}}}}); err != nil {
					t.Fatal(err)
				}
				defer g.server.Close()
				g.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != path {
						return false
					}
					body, _ := io.ReadAll(r.Body)
					parrot(w, secretAccount+" "+string(body)+" "+secretKey)
					return true
				}
				c := g.listen(t)
				c.AccountID, c.APIKey, c.Logger = secretAccount, secretKey, logger
				client, err := xrtc.Open(t.Context(), c)
				if path == loginPath {
					check(t, err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				_, err = client.Set(t.Context(), xrtc.Item{PortalID: "a", Payload: "p"})
				check(t, err)
			})
		}
	}
	t.Run("before sending", func(t *testing.T) {
		t.Chdir(t.TempDir())
		write(t, map[string]string{"bad.env": "API_KEY=" + secretKey + "\n" + secretKey + "\n'" + secretAccount})
		for _, change := range []func(*xrtc.Config){
			func(c *xrtc.Config) { c.CredentialsFile = "bad.env" },
			func(c *xrtc.Config) { c.SetURL = "http://" + secretUser + ":" + secretUser + "@[::1" },
			func(c *xrtc.Config) { c.SetURL = secretUser },
			func(c *xrtc.Config) { c.APIKey, c.Environ = "", []string{"API_KEY=" + secretKey} },
		} {
			c := secretConfig()
			c.Logger = logger
			change(&c)
			_, err := xrtc.Open(t.Context(), c)
			check(t, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := secretConfig()
		c.Logger = logger
		c.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, io.ErrClosedPipe
		}}
		_, err := xrtc.Open(t.Context(), c)
		check(t, err)
	})
	checkNoSecret(t, "log", log.String())
}

func TestErrorMessageIsFitToPrint(t *testing.T) {
	g := newGate(t, quick())
	g.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != setPath {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(
			map[string]any{"error": map[string]any{
				"errorcode":    30,
				"errormessage": "no\x1b[31m\r\n" + strings.Repeat("é", 1<<15),
			}})
		return true
	}
	_, err := open(t, g.listen(t)).Set(t.Context(), xrtc.Item{PortalID: "a"})
	if err == nil || len(err.Error()) > 1200 || strings.ContainsAny(err.Error(), "\x1b\r\n") {
		t.Errorf("got %q", err)
	}
	if !errors.Is(err, xrtc.ErrInvalidArguments) || errors.Is(err, xrtc.ErrParse) {
		t.Errorf("got %v, want %v", err, xrtc.ErrInvalidArguments)
	}
}
