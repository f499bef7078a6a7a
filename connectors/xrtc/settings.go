package xrtc

import (
	"cmp"
	"errors"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// ClientSettings are what source and sink have in common.
type ClientSettings struct {
	URL       bridge.URL    `yaml:"url" doc:"base URL, such as https://api.xrtc.org; empty: from the environment or env_file, or that"`
	AccountID bridge.Secret `yaml:"account_id" doc:"with api_key; empty: from the environment or env_file"`
	APIKey    bridge.Secret `yaml:"api_key" doc:"of the account"`
	EnvFile   string        `yaml:"env_file,content" doc:"dotenv file; empty: xrtc.env"`
	TLS       bridge.TLS    `yaml:"tls" doc:"certificates, for servers that are reached by TLS"`
}

// SourceSettings are the settings of the source.
type SourceSettings struct {
	ClientSettings `yaml:",inline"`

	Portals  []string      `yaml:"portals,required" doc:"ids of the portals to read, or all"`
	Mode     string        `yaml:"mode" enum:"probe|watch|stream" doc:"how to read: ask each interval, wait for items, or keep a connection"`
	Interval time.Duration `yaml:"interval" doc:"from one probe, or look for new portals, to the next"`
	Schedule string        `yaml:"schedule" enum:"FIFO|LIFO" doc:"oldest first, or newest first, which passes over what is too much"`
	Cutoff   time.Duration `yaml:"cutoff" doc:"older items are left out; 0: none is"`
	Decode   string        `yaml:"decode" enum:"auto|text|base64|urlencode" doc:"undoes encode"`
	Envelope bool          `yaml:"envelope" doc:"restores topic, time and headers from the payload"`
	Buffer   bridge.Size   `yaml:"buffer" doc:"most bytes that wait for the pipeline"`
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	ClientSettings `yaml:",inline"`

	Portal     bridge.Template `yaml:"portal,required" doc:"id of the portal, 1 to 32 letters and digits; {{ portalid(topic) }} makes one of a topic"`
	Pack       bool            `yaml:"pack" doc:"many messages in one request"`
	Overflow   string          `yaml:"overflow" enum:"block|conflate|drop" doc:"what comes faster than the rate: it waits, only the newest of each portal is sent, or it is dropped"`
	Encode     string          `yaml:"encode" enum:"auto|text|base64|urlencode" doc:"how payloads become text"`
	Envelope   bool            `yaml:"envelope" doc:"puts topic, time, id and headers into the payload"`
	Parallel   int             `yaml:"parallel" doc:"requests on their way at a time"`
	Rate       float64         `yaml:"rate" doc:"requests a second; 0: what the server announces"`
	MaxRequest bridge.Size     `yaml:"max_request" doc:"bytes of a request; 0: what the server announces"`
	MaxPortals int             `yaml:"max_portals" doc:"most of them at a time; 0: what the server announces"`
}

// Validate checks portals and numbers.
func (s *SourceSettings) Validate() error {
	errs := []error{s.validate()}
	for _, id := range s.Portals { // all is a portal id, too
		if err := sdk.CheckItem(id, nil); err != nil {
			errs = append(errs, bridge.KeyErrorf("portals", "%w", err))
		}
	}
	if s.Interval <= 0 {
		errs = append(errs, bridge.KeyErrorf("interval", "at least 1ms"))
	}
	if s.Buffer < minBuffer {
		errs = append(errs, bridge.KeyErrorf("buffer", "at least %v", bridge.Size(minBuffer)))
	}
	return errors.Join(errs...)
}

// Validate checks portal and numbers.
func (s *SinkSettings) Validate() error {
	errs := []error{s.validate()}
	if s.Portal != nil {
		if id, constant := s.Portal.Constant(); constant && sdk.CheckItem(id, nil) != nil {
			errs = append(errs, bridge.KeyErrorf("portal",
				"%q is not a portal id, which is 1 to 32 letters and digits; {{ portalid(topic) }} makes one of any topic", id))
		}
	}
	if s.Parallel < 1 || s.Parallel > maxParallel {
		errs = append(errs, bridge.KeyErrorf("parallel", "from 1 to %d", maxParallel))
	}
	if s.Rate < 0 {
		errs = append(errs, bridge.KeyErrorf("rate", "cannot be negative"))
	}
	if s.MaxRequest < 0 || s.MaxRequest > 0 && s.MaxRequest < minRequest || s.MaxRequest > sdk.RequestSizeMax {
		errs = append(errs, bridge.KeyErrorf("max_request", "from %d to %d bytes", minRequest, sdk.RequestSizeMax))
	}
	if s.MaxPortals < 0 {
		errs = append(errs, bridge.KeyErrorf("max_portals", "cannot be negative"))
	}
	return errors.Join(errs...)
}

func (s *SourceSettings) all() bool { return len(s.Portals) == 1 && s.Portals[0] == "all" }

func (s *SourceSettings) lifo() bool { return s.Schedule == string(sdk.LIFO) }

const (
	minBuffer   = 64 << 10
	minRequest  = 128
	maxParallel = 64
)

func (s *ClientSettings) validate() error {
	var errs []error
	if !s.URL.IsZero() && s.URL.Scheme != "http" && s.URL.Scheme != "https" {
		errs = append(errs, bridge.KeyErrorf("url", "the scheme of %v is not http or https", s.URL))
	}
	if !s.URL.IsZero() && (s.URL.Host == "" || s.URL.RawQuery != "" || s.URL.User != nil) {
		errs = append(errs, bridge.KeyErrorf("url",
			"a base URL looks like https://api.xrtc.org; account and key have keys of their own"))
	}
	if s.AccountID.IsZero() != s.APIKey.IsZero() {
		errs = append(errs, bridge.KeyErrorf("api_key", "account_id and api_key go together: set both or neither"))
	}
	return errors.Join(append(errs, s.checkForms()...)...)
}

// checkForms finds accounts and keys that can be none, and files that are not there. That there are
// none is no mistake yet: the environment may have them where the pipeline runs.
func (s *ClientSettings) checkForms() (errs []error) {
	if !s.AccountID.IsZero() && !s.APIKey.IsZero() {
		if err := sdk.CheckAccountID(s.AccountID.Reveal()); err != nil {
			errs = append(errs, bridge.KeyErrorf("account_id", "%w", err))
		}
		if err := sdk.CheckAPIKey(s.APIKey.Reveal()); err != nil {
			errs = append(errs, bridge.KeyErrorf("api_key", "%w", err))
		}
		if s.EnvFile == "" {
			return errs
		}
	}
	if err := s.config().CheckForm(); err != nil && !errors.Is(err, sdk.ErrNoCredentials) && len(errs) == 0 {
		errs = append(errs, bridge.KeyErrorf("env_file", "%s: %w", cmp.Or(s.EnvFile, "environment or "+sdk.DefaultFile), err))
	}
	return errs
}

// config returns what the settings say, but for TLS.
func (s *ClientSettings) config() sdk.Config {
	return sdk.Config{
		AccountID: s.AccountID.Reveal(), APIKey: s.APIKey.Reveal(), BaseURL: s.URL.Reveal(),
		CredentialsFile: s.EnvFile, ConnectionFile: s.EnvFile,
	}
}
