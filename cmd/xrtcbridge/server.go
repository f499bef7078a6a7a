package main

import (
	"context"
	"errors"
	"fmt"
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
		Long: `server serves the XRTC portal API, for the SDKs, curl and xrtcbridge portal, until a
signal comes. It prints the three URLs in the form that xrtc.env and the environment want.

With --config it reads a file with the keys that embedded: xrtc: of a pipeline file has:

  listen: localhost:28080            # localhost is 127.0.0.1 and [::1]
  profile: open                      # or public: the limits of the public service
  accounts:
    AC0987654321012345: ["sha256:…"] # as xrtcbridge server keys new prints it
  limits: {portals_count_max: 50}    # change single limits of the profile
  tls: {cert: server.pem, key: server.key}

A portal keeps its last 1000 items for an hour, in memory (limits: {ring_capacity: …, item_age_max: …}).
With curl, where a session and what it has read are in a cookie:

  curl -c jar http://localhost:28080/v1/auth/login -d '{"accountid":"AC…","apikey":"…"}'
  curl -b jar http://localhost:28080/v1/item/set -d '{"items":[{"portalid":"kitchen","payload":"21.5"}]}'
  curl -b jar http://localhost:28080/v1/item/get -d '{"portals":[{"portalid":"kitchen"}]}'
  curl -N -b jar http://localhost:28080/v1/item/get -d '{"portals":[{"portalid":"kitchen"}],"mode":"stream"}'`,
		Example: `  xrtcbridge server keys new >xrtc.env
  xrtcbridge server --account AC0987654321012345=abcdefghijklmnopqrstuvwxyz012345
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
	f.log.add(cmd.Flags())
	cmd.Flags().StringVar(&f.listen, "listen", "", "host:port to listen on (default "+embedded.DefaultPortalListen+", on both loopback families)")
	cmd.Flags().StringVar(&f.profile, "profile", "", "limits: open (default) or public, those of the public service")
	cmd.Flags().StringVar(&f.config, "config", "", "file with accounts, keys, limits and TLS certificate")
	cmd.Flags().StringArrayVar(&f.accounts, "account", nil, "ACCOUNT=KEY[,KEY...], for trying out: others on this machine can see it; repeatable")
	cmd.Flags().DurationVar(&f.limit, "for", 0, "stop after this time, as a signal would")
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
	if f.listen != "" {
		x.Listen = f.listen
	}
	switch f.profile {
	case "":
	case "open", "public":
		x.Profile = f.profile
	default:
		return fail(fmt.Errorf("--profile %q: want open or public", f.profile))
	}
	for _, a := range f.accounts {
		id, keys, ok := strings.Cut(a, "=")
		if !ok {
			return fail(errors.New("--account: want ACCOUNT=KEY[,KEY...]"))
		}
		if x.Accounts == nil {
			x.Accounts = make(map[string][]bridge.Secret)
		}
		for k := range strings.SplitSeq(keys, ",") {
			x.Accounts[id] = append(x.Accounts[id], bridge.NewSecret(k))
		}
	}
	if len(x.Accounts) == 0 {
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
	log, err := f.log.logger(s.err)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	if f.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.limit)
		defer cancel()
	}
	p, err := embedded.StartPortals(ctx, x, log)
	if err != nil {
		return failure{code: exitFailed, err: err}
	}
	_, err = fmt.Fprintf(s.out, "LOGIN_URL=%[1]s/v1/auth/login\nSET_URL=%[1]s/v1/item/set\nGET_URL=%[1]s/v1/item/get\n", p.URL())
	if err == nil {
		log.Info("portal server started", "url", p.URL(), "accounts", len(x.Accounts))
		<-ctx.Done()
		stop() // a second signal ends the process
		log.Info("stopping")
	}
	if err := errors.Join(err, p.Close()); err != nil {
		return failure{code: exitFailed, err: err}
	}
	return nil
}

func newServerKeys(s std) *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make API keys",
	}
	create := &cobra.Command{
		Use:   "new",
		Short: "Print a new account id and API key, and what goes into the server's file",
		Long: `new prints an account id and an API key in the form that xrtc.env wants, and, as a comment, what
goes into the file of the server, which needs the hash of the key only.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if account == "" {
				account = server.NewAccountID()
			}
			if err := server.CheckAccountID(account); err != nil {
				return failure{code: exitUsage, err: err}
			}
			text, key := server.NewKey()
			_, err := fmt.Fprintf(s.out, "ACCOUNT_ID=%s\nAPI_KEY=%s\n# In the server's file: accounts: {%s: [%q]}\n"+
				"# A client needs the address, too, or it asks the public service: --url, or the three lines that the server prints.\n", account, text, account, key)
			return err
		},
	}
	create.Flags().StringVar(&account, "account", "", "make a further key for this account")
	return group(cmd, create)
}
