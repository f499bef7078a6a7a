package xrtc

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// ClientSettings are what source and sink have in common.
type ClientSettings struct {
	URL       bridge.URL    `yaml:"url"`        // base URL, such as https://api.xrtc.org; empty: from the environment or env_file, or that
	AccountID bridge.Secret `yaml:"account_id"` // with api_key; empty: from the environment or env_file
	APIKey    bridge.Secret `yaml:"api_key"`
	EnvFile   string        `yaml:"env_file"` // dotenv file; empty: xrtc.env
	TLS       bridge.TLS    `yaml:"tls"`
}

// SourceSettings are the settings of the source.
type SourceSettings struct {
	ClientSettings `yaml:",inline"`

	Portals  []string      `yaml:"portals,required"`
	Mode     string        `yaml:"mode" enum:"probe|watch|stream"`
	Interval time.Duration `yaml:"interval"` // from one probe to the next
	Schedule string        `yaml:"schedule" enum:"FIFO|LIFO"`
	Cutoff   time.Duration `yaml:"cutoff"` // older items are left out; 0: none is
	Decode   string        `yaml:"decode" enum:"auto|text|base64|urlencode"`
	Envelope bool          `yaml:"envelope"`
	Buffer   bridge.Size   `yaml:"buffer"` // most bytes that wait for the pipeline
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	ClientSettings `yaml:",inline"`

	Portal     bridge.Template `yaml:"portal,required"`
	Pack       bool            `yaml:"pack"` // many messages in one request
	Overflow   string          `yaml:"overflow" enum:"block|conflate|drop"`
	Encode     string          `yaml:"encode" enum:"auto|text|base64|urlencode"`
	Envelope   bool            `yaml:"envelope"`
	Parallel   int             `yaml:"parallel"`    // requests on their way at a time
	Rate       float64         `yaml:"rate"`        // requests a second; 0: what the server announces
	MaxRequest bridge.Size     `yaml:"max_request"` // bytes; 0: the same
	MaxPortals int             `yaml:"max_portals"` // 0: the same
}

// Validate checks portals and numbers.
func (s *SourceSettings) Validate() error {
	errs := []error{s.validate()}
	for _, id := range s.Portals {
		if err := sdk.CheckItem(id, nil); err != nil {
			errs = append(errs, keyError("portals", "%w", err))
		}
	}
	if s.Interval <= 0 {
		errs = append(errs, keyError("interval", "at least 1ms"))
	}
	if s.Buffer < minBuffer {
		errs = append(errs, keyError("buffer", "at least %v", bridge.Size(minBuffer)))
	}
	return errors.Join(errs...)
}

// Validate checks portal and numbers.
func (s *SinkSettings) Validate() error {
	errs := []error{s.validate()}
	if s.Portal != nil {
		if id, constant := s.Portal.Constant(); constant && sdk.CheckItem(id, nil) != nil {
			errs = append(errs, keyError("portal", "%q is not a portal id, which is 1 to 32 letters and digits; {{ portalid(topic) }} makes one of any topic", id))
		}
	}
	if s.Parallel < 1 || s.Parallel > maxParallel {
		errs = append(errs, keyError("parallel", "from 1 to %d", maxParallel))
	}
	if s.Rate < 0 {
		errs = append(errs, keyError("rate", "cannot be negative"))
	}
	if s.MaxRequest < 0 || s.MaxRequest > 0 && s.MaxRequest < minRequest || s.MaxRequest > sdk.RequestSizeMax {
		errs = append(errs, keyError("max_request", "from %d to %d bytes", minRequest, sdk.RequestSizeMax))
	}
	if s.MaxPortals < 0 {
		errs = append(errs, keyError("max_portals", "cannot be negative"))
	}
	return errors.Join(errs...)
}

const (
	minBuffer   = 64 << 10
	minRequest  = 128
	maxParallel = 64
)

func (s *ClientSettings) validate() error {
	var errs []error
	if !s.URL.IsZero() && s.URL.Scheme != "http" && s.URL.Scheme != "https" {
		errs = append(errs, keyError("url", "the scheme of %v is not http or https", s.URL))
	}
	if !s.URL.IsZero() && (s.URL.Host == "" || s.URL.RawQuery != "" || s.URL.User != nil) {
		errs = append(errs, keyError("url", "a base URL looks like https://api.xrtc.org; account and key have keys of their own"))
	}
	if s.EnvFile != "" {
		if _, err := os.Stat(s.EnvFile); err != nil {
			errs = append(errs, keyError("env_file", "%w", err))
		}
	}
	if s.AccountID.IsZero() != s.APIKey.IsZero() {
		errs = append(errs, keyError("api_key", "account_id and api_key go together: set both or neither"))
	}
	return errors.Join(errs...)
}

func keyError(key, format string, args ...any) error {
	return &bridge.KeyError{Key: key, Err: fmt.Errorf(format, args...)}
}
