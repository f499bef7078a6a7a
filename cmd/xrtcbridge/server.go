package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

type serverFlags struct {
	log      logFlags
	listen   string
	profile  string
	config   string
	accounts []string
	limit    time.Duration
}

func newServer(s std) *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a portal server",
		Long: `server serves the XRTC portal API, for the SDKs, curl and xrtcbridge portal, until a signal
comes. It prints the three URLs in the form that xrtc.env and the environment want.

With --config it reads a file with the keys that embedded: xrtc: of a pipeline file has:

  listen: localhost:28080            # localhost is 127.0.0.1 and [::1]
  profile: open                      # or public: the limits of the public service
  accounts:
    AC0987654321012345: ["sha256:…"] # as xrtcbridge server keys new prints it
  hosts: [portals.example.com]       # names that a proxy on this machine passes on in Host
  limits: {portals_count_max: 50}    # change single limits of the profile
  tls: {cert: server.pem, key: server.key}   # read again when they change
  registration:                      # accounts and keys for whom a code reaches by mail
    smtp: {url: "smtp://mail.example.com:587", from: portals@example.com, username: portals, password: "${SMTP_PASSWORD}"}
    accounts: accounts.json          # keeps them, the keys hashed

A portal keeps its last 1000 items for an hour, in memory (limits: {ring_capacity: …,
item_age_max: …}). With curl, where a session and what it has read are in a cookie:

  curl http://localhost:28080/v1/auth/registrationstart -d '{"email":"…"}'   # mails a code
  curl http://localhost:28080/v1/auth/registrationcode -d '{"registrationtoken":"…","emailcode":"…"}'
  curl -c jar http://localhost:28080/v1/auth/login -d '{"accountid":"AC…","apikey":"…"}'
  curl -b jar http://localhost:28080/v1/item/set -d '{"items":[{"portalid":"kitchen","payload":"21.5"}]}'
  curl -b jar http://localhost:28080/v1/item/get -d '{"portals":[{"portalid":"kitchen"}]}'
  curl -N -b jar http://localhost:28080/v1/item/get -d '{"portals":[{"portalid":"kitchen"}],"mode":"stream"}'`,
		Example: `  xrtcbridge server keys new --out xrtc.env
  xrtcbridge server --account 'AC0987654321012345=${API_KEY}'
  xrtcbridge server --config portals.yaml --profile public`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			x, err := f.settings()
			if err != nil {
				return err
			}
			return f.serve(cmd.Context(), s, x)
		},
	}
	f.log.add(cmd)
	cmd.Flags().StringVar(&f.listen, "listen", "",
		"host:port to listen on (default "+embedded.DefaultPortalListen+", on both loopback families)")
	wordFlag(cmd, &f.profile, "profile", "`limits`: open (default) or public, those of the public service", "open",
		"public")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "file with accounts, keys, limits and TLS certificate")
	cmd.Flags().StringArrayVar(&f.accounts, "account", nil,
		"ACCOUNT=KEY[,KEY...], for trying out, a key being '${NAME}', '${file:path}', '${cred:NAME}' or sha256:…; "+
			"repeatable")
	durationFlag(cmd.Flags(), &f.limit, "for", "stop this `duration` after the start, as a signal would")
	cmd.AddCommand(newServerKeys(s))
	return cmd
}

// settings returns what the file and the flags say, the flags winning.
func (f *serverFlags) settings() (x embedded.XRTC, err error) {
	fail := func(err error) (embedded.XRTC, error) { return x, failure{code: exitUsage, err: err} }
	if f.config != "" {
		if err := (config.Loader{}).Decode(f.config, &x); err != nil {
			return fail(err)
		}
	}
	x.Listen = cmp.Or(f.listen, x.Listen)
	x.Profile = cmp.Or(f.profile, x.Profile)
	for _, a := range f.accounts {
		id, keys, ok := strings.Cut(a, "=")
		if !ok {
			return fail(errors.New("--account: want ACCOUNT=KEY[,KEY...], a key being '${NAME}', '${file:path}', " +
				"'${cred:NAME}' or sha256:…"))
		}
		if x.Accounts == nil {
			x.Accounts = make(map[string][]bridge.Secret)
		}
		for k := range strings.SplitSeq(keys, ",") {
			key := bridge.NewSecret(k)
			if !strings.HasPrefix(k, "sha256:") { // which is no secret
				if key, err = (config.Loader{}).Secret("--account", k); err != nil {
					return fail(err)
				}
			}
			x.Accounts[id] = append(x.Accounts[id], key)
		}
	}
	if len(x.Accounts) == 0 && x.Registration == nil {
		return x, failure{
			code: exitUsage, err: errors.New("the server has no account"),
			hint: "xrtcbridge server keys new makes one; give it by --account, or in a file by --config",
		}
	}
	if err := x.Validate(); err != nil {
		return fail(err)
	}
	return x, nil
}

func (f *serverFlags) serve(ctx context.Context, s std, x embedded.XRTC) error {
	log := f.log.logger(s.err)
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	if r := x.Registration; r != nil && r.Shared {
		log.Warn(sharedWarning, "setting", "registration.accounts", "file", r.Accounts)
	}
	p, err := embedded.StartPortals(ctx, x, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.data, "LOGIN_URL=%[1]s/v1/auth/login\nSET_URL=%[1]s/v1/item/set\nGET_URL=%[1]s/v1/item/get\n", p.URL())
	log.Info("portal server started", "url", p.URL(), "accounts", len(x.Accounts))
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(f.limit, forever)) // only now, as with run
	defer cancel()
	<-ctx.Done()
	stop() // a second signal ends the process
	log.Info("stopping")
	return p.Close()
}

func newServerKeys(s std) *cobra.Command {
	var account, out string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make API keys",
	}
	create := &cobra.Command{
		Use:   "new",
		Short: "Print a new account id and API key, and what goes into the server's file",
		Long: `new prints an account id and an API key in the form that xrtc.env wants, and, as a comment, what
goes into the file of the server, which needs the hash of the key only. With --out, account and
key go into a new file that nobody else can read, and only the comment is printed.`,
		Example: `  xrtcbridge server keys new --out xrtc.env`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if account == "" {
				account = server.NewAccountID()
			}
			if err := server.CheckAccountID(account); err != nil {
				return failure{code: exitUsage, err: err}
			}
			text, key := server.NewKey()
			credentials := fmt.Sprintf("ACCOUNT_ID=%s\nAPI_KEY=%s\n", account, text)
			if out != "" {
				if err := writePrivate(out, credentials); err != nil {
					return err
				}
				credentials = ""
			}
			_, err := fmt.Fprintf(s.out, "%s# In the server's file: accounts: {%s: [%q]}\n"+
				"# A client needs the address, too, or it asks the public service: --url, "+
				"or the three lines that the server prints.\n", credentials, account, key)
			return err
		},
	}
	create.Flags().StringVar(&account, "account", "", "make a further key for this account")
	create.Flags().StringVar(&out, "out", "", "write account and key into this new `file`, which only you can read")
	return group(cmd, create)
}

// writePrivate makes a file that only its owner can read.
func writePrivate(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return failure{
			code: exitUsage, err: err,
			hint: "what is there stays, since it may be a key in use: name another file, or remove it",
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
