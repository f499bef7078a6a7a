// Package embedded runs servers inside the process: a NATS server with
// JetStream, an MQTT broker, which is a listener of the same server and
// keeps its sessions and retained messages in JetStream, and a portal server, which keeps
// everything in memory.
//
// # Safety
//
// The NATS server and the MQTT broker listen on the loopback interface; any other address is refused
// unless a user name and a password are set. The portal server always wants an account and a key. The store is locked, so that no
// second process damages it, and only its owner can read it.
//
// # Durability
//
// What the server has acknowledged survives a crash of the process always,
// and power loss as long as durability is "power", which costs one sync to disk
// for each message.
//
// # MQTT over a restart
//
// The broker may deliver messages again after a restart although their
// acknowledgement had reached it, and delivers those that were on their way only when
// its own wait of 30 s is over. Subscribers see them late, twice or out of order, but never miss one.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Settings says which servers to run. The zero value runs none.
type Settings struct {
	MQTT *MQTT `yaml:"mqtt"`
	NATS *NATS `yaml:"nats"`
	XRTC *XRTC `yaml:"xrtc"`
}

// MQTT is the MQTT broker (3.1.1). Its topics are NATS subjects to the NATS
// clients of the same process. Without user name and password those of NATS hold.
type MQTT struct {
	Listen   string        `yaml:"listen,short,required"` // host:port; port 0 is any free one
	Username string        `yaml:"username"`
	Password bridge.Secret `yaml:"password"`
	TLS      *Certificate  `yaml:"tls"`
}

// NATS is the NATS server with JetStream. Without Listen only the MQTT broker uses it.
type NATS struct {
	Listen     string        `yaml:"listen,short"`                    // host:port; port 0 is any free one
	Store      string        `yaml:"store"`                           // folder; empty: a temporary one, removed at the end
	Durability string        `yaml:"durability" enum:"power|process"` // what acknowledged messages survive; empty: power
	MaxStore   bridge.Size   `yaml:"max_store"`                       // most bytes in the store; 0: 1 GiB
	MaxPayload bridge.Size   `yaml:"max_payload"`                     // largest message; 0: 8 MiB
	Username   string        `yaml:"username"`
	Password   bridge.Secret `yaml:"password"`
	TLS        *Certificate  `yaml:"tls"`

	// Reserve is how many bytes of the disk the store leaves free; 0: half of what is free at the start.
	Reserve bridge.Size `yaml:"-"`
	// Visitor says that the store is wanted for a moment only, so that others who want it may wait: see [InUseError].
	Visitor bool `yaml:"-"`
}

// Certificate makes a listener speak TLS.
type Certificate struct {
	Cert string `yaml:"cert,required"` // PEM file
	Key  string `yaml:"key,required"`  // PEM file
}

const (
	defaultMaxStore   = 1 << 30
	defaultMaxPayload = 8 << 20
	mostMaxPayload    = 64 << 20 // what the server can keep pending for a client
)

// Validate checks addresses, passwords and sizes.
func (s Settings) Validate() error {
	var errs []error
	nats := NATS{}
	if s.NATS != nil {
		nats = *s.NATS
		errs = append(errs, validateUser("nats", nats.Username, nats.Password))
		if nats.Listen != "" {
			errs = append(errs, validateListen("nats.listen", nats.Listen, nats.Username != ""))
		}
		if nats.MaxStore < 0 {
			errs = append(errs, keyError("nats.max_store", "a size cannot be negative"))
		}
		if nats.MaxPayload < 0 || nats.MaxPayload > mostMaxPayload {
			errs = append(errs, keyError("nats.max_payload", "the most is %v", bridge.Size(mostMaxPayload)))
		}
		if nats.Durability != "" && nats.Durability != "power" && nats.Durability != "process" {
			errs = append(errs, keyError("nats.durability", "write power or process"))
		}
	}
	if m := s.MQTT; m != nil {
		errs = append(errs,
			validateUser("mqtt", m.Username, m.Password),
			validateListen("mqtt.listen", m.Listen, m.Username != "" || nats.Username != ""))
	}
	return errors.Join(errs...)
}

func validateUser(key, username string, password bridge.Secret) error {
	if (username == "") != password.IsZero() {
		return keyError(key+".username", "username and password go together: set both or neither")
	}
	return nil
}

func validateListen(key, address string, guarded bool) error {
	host, _, err := splitAddress(address)
	if err != nil {
		return &bridge.KeyError{Key: key, Err: err}
	}
	if !guarded && !isLoopback(host) {
		return keyError(key, "%s can be reached from other machines: set username and password, or listen on 127.0.0.1", address)
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is not an address, which looks like 127.0.0.1:24222", address)
	}
	return host, port, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func keyError(key, format string, args ...any) error {
	return &bridge.KeyError{Key: key, Err: fmt.Errorf(format, args...)}
}
