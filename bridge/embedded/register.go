package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	smtp "github.com/wneessen/go-mail"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// Registration lets people get accounts and keys by themselves, as the API documents: a code goes
// to their mail address.
type Registration struct {
	SMTP     SMTP   `yaml:"smtp,required" doc:"the server that mail is sent by"`
	Accounts string `yaml:"accounts,path" doc:"file that keeps them; empty: they are forgotten when the server ends"`
	Shared   bool   `yaml:"shared" doc:"others may own that file, or write to it: a volume with fsGroup, or without owners"`
}

// SMTP is the mail server that takes the codes. TLS is a must but for one on loopback.
type SMTP struct {
	URL      bridge.URL    `yaml:"url,short,required" doc:"smtp://host:587 (STARTTLS), or smtps://host:465"`
	From     string        `yaml:"from" doc:"address of the sender; empty: xrtcbridge at the host of url"`
	Username string        `yaml:"username" doc:"user name, if the other side wants one"`
	Password bridge.Secret `yaml:"password" doc:"its password"`
	TLS      bridge.TLS    `yaml:"tls" doc:"certificates, for servers that are reached by TLS"`
}

// apply switches registration on.
func (r *Registration) apply(c *server.Config, log *slog.Logger) error {
	if r == nil {
		return nil
	}
	if err := r.SMTP.Validate(); err != nil {
		return err
	}
	m, err := r.SMTP.mailer()
	if err != nil {
		return err
	}
	c.Mailer = m
	if r.Accounts == "" {
		log.Warn("accounts that registration gives are forgotten when the server ends: registration: {accounts: " +
			"FILE} keeps them")
		return nil
	}
	b, err := openBook(owned.Place{Path: r.Accounts, Shared: r.Shared, Setting: "registration: {shared: true}"})
	if err != nil {
		return err
	}
	c.Accounts, c.Registered = slices.AppendSeq(c.Accounts, maps.Values(b.accounts)), b.keep
	return nil
}

// mailTimeout is below what a request may take, so that the answer still goes out.
const mailTimeout = 8 * time.Second

// Validate checks address, sender and password.
func (s *SMTP) Validate() error {
	var errs []error
	if u := s.URL.URL; u == nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" {
		errs = append(errs, bridge.KeyErrorf("url",
			"a mail server looks like smtp://mail.example.com:587 or smtps://mail.example.com:465; "+
				"username and password have keys of their own"))
	}
	if a, err := mail.ParseAddress(s.From); s.From != "" && (err != nil || a.Address != s.From) {
		errs = append(errs, bridge.KeyErrorf("from", "%q is not a mail address, which looks like portals@example.com",
			s.From))
	}
	if (s.Username == "") != s.Password.IsZero() {
		errs = append(errs, bridge.KeyErrorf("username", "username and password go together: set both or neither"))
	}
	return errors.Join(errs...)
}

// mailer is a [server.Mailer] over SMTP. It makes a connection for each mail, since they are few.
type mailer struct {
	from    string
	host    string
	options []smtp.Option
}

func (s *SMTP) mailer() (*mailer, error) {
	u := s.URL.URL
	m := &mailer{host: u.Hostname(), from: s.From}
	if m.from == "" {
		m.from = "xrtcbridge@" + m.host
	}
	secure, err := s.TLS.Config()
	if err != nil {
		return nil, err
	}
	if secure.ServerName == "" {
		secure.ServerName = m.host
	}
	m.options = []smtp.Option{smtp.WithTimeout(mailTimeout), smtp.WithTLSConfig(secure)}
	switch port, _ := strconv.Atoi(u.Port()); {
	case u.Scheme == "smtps":
		m.options = append(m.options, smtp.WithSSL(), smtp.WithPort(cmp.Or(port, smtp.DefaultPortSSL)))
	case isLoopback(m.host):
		m.options = append(m.options, smtp.WithTLSPolicy(smtp.TLSOpportunistic),
			smtp.WithPort(cmp.Or(port, smtp.DefaultPort)))
	default:
		m.options = append(m.options, smtp.WithTLSPolicy(smtp.TLSMandatory), smtp.WithPort(cmp.Or(port, smtp.DefaultPortTLS)))
	}
	if s.Username != "" {
		m.options = append(m.options, smtp.WithSMTPAuth(smtp.SMTPAuthAutoDiscover), smtp.WithUsername(s.Username),
			smtp.WithPassword(s.Password.Reveal()))
	}
	return m, nil
}

// SendCode sends the code of a registration.
func (m *mailer) SendCode(ctx context.Context, email, code string) error {
	client, err := smtp.NewClient(m.host, m.options...)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	message := smtp.NewMsg()
	message.Subject("Code for your API key")
	message.SetBodyString(smtp.TypeTextPlain, fmt.Sprintf("Your code is %s-%s\n\n"+
		"It is good for five minutes. Somebody, maybe not you, has asked for an API key of a portal server\n"+
		"with this address. Without the code nothing happens.\n", code[:len(code)/2], code[len(code)/2:]))
	if err := errors.Join(message.From(m.from), message.To(email)); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	if err := client.DialAndSendWithContext(ctx, message); err != nil {
		return fmt.Errorf("mail by %s: %w", m.host, err)
	}
	return nil
}

// book keeps the accounts that registration gives, in a file that is written anew for each. Their
// keys are hashed.
type book struct {
	name     string
	accounts map[string]server.Account // by id
}

// openBook reads the file, which need not be there.
func openBook(at owned.Place) (*book, error) {
	name := at.Path
	b := &book{name: name, accounts: make(map[string]server.Account)}
	text, err := at.ReadFile() // an account that another user has put there would be let in
	if errors.Is(err, fs.ErrNotExist) {
		return b, b.write() // now is the time to find out that it cannot be
	}
	if err == nil {
		err = json.Unmarshal(text, &b.accounts)
	}
	if err == nil && b.accounts == nil {
		err = errors.New("it holds null; remove it to begin without accounts")
	}
	if err != nil {
		return nil, fmt.Errorf("read registered accounts in %s: %w", name, err)
	}
	return b, nil
}

// keep adds an account, or replaces it. The server calls it once at a time.
func (b *book) keep(a server.Account) error {
	before := maps.Clone(b.accounts)
	b.accounts[a.ID] = a
	err := b.write()
	if err != nil {
		b.accounts = before
	}
	return err
}

// write replaces the file by one that is whole and on disk.
func (b *book) write() error {
	text, err := json.MarshalIndent(b.accounts, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(b.name), filepath.Base(b.name)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep registered accounts: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), b.name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep registered accounts: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(b.name)); err == nil { // the new name is on disk with its folder
		_ = errors.Join(dir.Sync(), dir.Close())
	}
	return nil
}
