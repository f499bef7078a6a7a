package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

const (
	testAccount = "AC0987654321012345"
	testKey     = "abcdefghijklmnopqrstuvwxyz012345"
)

// startServer runs xrtcbridge server with one account and returns its base URL.
func startServer(t *testing.T, args ...string) string {
	t.Helper()
	out := new(logWatch)
	start(t, t.TempDir(), out, append([]string{
		"server", "--listen", "localhost:0",
		"--account", fmt.Sprintf("%s=sha256:%x", testAccount, sha256.Sum256([]byte(testKey))), "--log-format", "json",
	}, args...)...)
	var url string
	bridgetest.Eventually(t, "the server prints its URLs", func() (all bool) {
		_, text, _ := strings.Cut(out.String(), "GET_URL=")
		url, all = strings.CutSuffix(text, "/v1/item/get\n")
		return all
	})
	return url
}

// python returns the Python that has the libraries of the public SDK.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} { // Debian's packages are for the first
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(t.Context(), path, "-c",
			"import requests, aiohttp, dotenv, pydantic; pydantic.BaseSettings").Run() == nil {
			return path
		}
	}
	bridgetest.Missing(t, "python3-requests") // with python3-aiohttp, python3-dotenv and python3-pydantic
	return ""
}

// Python programs written as the public SDK's documentation shows work against the server.
func TestPythonClients(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	for name, want := range map[string]string{
		"blocking.py": `mars 'héllo 😀 "q" \n/ =' True
mars 'a+b%20c&d=1' True
[]
['mars', 'moon']
['']
[]
refused: items[0].portalid: letters and digits only
refused: items[0]: payload is missing
`,
		"streaming.py": "in order: True\nat once: True\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script, err := filepath.Abs(filepath.Join("testdata/python", name))
			if err != nil {
				t.Fatal(err)
			}
			dir, url := t.TempDir(), startServer(t)
			write(t, dir, "xrtc.env", fmt.Sprintf("ACCOUNT_ID=%s\nAPI_KEY=%s\nLOGIN_URL=%[3]s/v1/auth/login\n"+
				"SET_URL=%[3]s/v1/item/set\nGET_URL=%[3]s/v1/item/get\n",
				testAccount, testKey, url))
			ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, interpreter, script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8")
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v, got:\n%swant:\n%s", err, out, want)
			}
		})
	}
}

// curl lines as the public documentation shows them, with names that are not quoted.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, url := bridgetest.Program(t, "curl"), startServer(t)
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), curl,
			append([]string{"--silent", "--show-error", "--max-time", fmt.Sprint(bridgetest.Timeout.Seconds())}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("curl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	match := func(got, before, after string) {
		t.Helper()
		if !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
			t.Errorf("got %s, want %s…%s", got, before, after)
		}
	}
	match(run("-c", "jar", "-X", "POST", url+"/v1/auth/login", "-d",
		`{accountid:`+testAccount+`,apikey:"`+testKey+`"}`), `{"servertimestamp":1`, "}")
	match(run("-b", "jar", "-X", "POST", url+"/v1/item/set", "-d",
		`{items:[{"portalid":"send","payload":"a+b%20c&d=1"}]}`), `{"servertimestamp":1`, "}")
	match(run("-b", "jar", url+"/v1/item/get", "-d", `{portals:[{portalid:send}],mode:watch,schedule:FIFO}`),
		`{"items":[{"portalid":"send","payload":"a+b%20c&d=1","servertimestamp":1`, "}]}")
	write(t, dir, "items.json", `{"items":[{"portalid":"send","payload":"from a file"}]}`)
	match(run("-b", "jar", url+"/v1/item/set", "-d", "@items.json"), `{"servertimestamp":1`, "}")
	match(run("-b", "jar", url+"/v1/item/set", "--data-binary", "@items.json", "-H", "Transfer-Encoding: chunked"),
		`{"servertimestamp":1`, "}")
	match(run("-b", "jar", url+"/v1/item/set", "-F", "name=@items.json"), `{"servertimestamp":1`, "}")
	match(run("-b", "jar", url+"/v1/item/get", "-d", `{portals:[{portalid:send}],mode:stream}`), `{"items":[`, "}]}\n")
	if got := run("-b", "jar", url+"/v1/item/get", "-d", `{portals:[{portalid:send}]}`); got != "{}" {
		t.Errorf("got %s, want {}", got)
	}
	if got, want := run("-o", "body", "-w", "%{http_code} %{content_type}", url+"/v1/item/get", "-d",
		`{portals:[]}`), "401 application/json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := run("-b", "jar", url+"/v1/item/set", "-d", `{items:[{portalid:a,payload:8}]}`),
		`{"error":{"errorgroup":6,"errorcode":20,`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
}
