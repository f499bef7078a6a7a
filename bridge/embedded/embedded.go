// Package embedded runs servers inside the process: a NATS server with JetStream, an MQTT broker,
// which is a listener of the same server and keeps its sessions and retained messages in JetStream,
// and a portal server, which keeps everything in memory.
//
// # Safety
//
// The NATS server and the MQTT broker listen on the loopback interface; any other address is
// refused unless a user name and a password are set. On loopback, too, whoever connects needs a
// password: where none is set, one is made at the first start for the user mqtt or nats, and kept
// in the file mqtt.password or nats.password, which only the owner can read, in the folder of the
// store, or in [Settings.Passwords] if the store is a temporary one. A listener that is open lets
// every user of the machine in. Connections that have not logged in keep nobody out: when there are
// many of them, the oldest end. The portal server always wants an account and a key. The store is
// locked, so that no second process damages it, and only its owner can read it. One that another
// user owns or can write to is refused, unless it is shared.
//
// Each user gets in by its own protocol only. That of MQTT publishes and subscribes, but to nothing
// that servers, JetStream and NATS clients say to one another ($JS, $SYS, $KV, $O, $MQTT, _INBOX
// and the like), so that it administers no stream, and # delivers messages only. That of NATS
// administers everything: all streams, those included in which the broker keeps the sessions and
// messages of MQTT clients. Accounts would keep these apart, but two accounts cannot import all
// subjects of one another, and topics are to be subjects. A client that does not read what it
// subscribed to is disconnected when 64 MiB wait for it, or 16 MiB (two of the largest messages)
// where only MQTT has a listener: a client of JetStream that fetches more at once than may wait for
// it would be disconnected however fast it reads.
//
// # Durability
//
// What the server has acknowledged survives a crash of the process always, and power loss as long
// as durability is "power", which costs one sync to disk for each message.
//
// # MQTT over a restart
//
// The broker may deliver messages again after a restart although their acknowledgement had reached
// it, and delivers those that were on their way only when its own wait of 30 s is over. Subscribers
// see them late, twice or out of order, but never miss one.
package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// Settings says which servers to run. The zero value runs none.
type Settings struct {
	MQTT *MQTT `yaml:"mqtt" doc:"an MQTT broker"`
	NATS *NATS `yaml:"nats" doc:"a NATS server with JetStream"`
	XRTC *XRTC `yaml:"xrtc" doc:"a portal server"`

	// Passwords is the folder of the passwords that are made here, if the store is a temporary one.
	// Without a path they are made anew with each store.
	Passwords owned.Place `yaml:"-"`
}

// MQTT is the MQTT broker (3.1.1). Its topics are NATS subjects to the NATS
// clients of the same process.
type MQTT struct {
	Listen   string              `yaml:"listen,short,required" doc:"host:port; port 0 is any free one"`
	Username string              `yaml:"username" doc:"who may enter; empty: mqtt, with a password that is made at the first start"`
	Password bridge.Secret       `yaml:"password" doc:"its password"`
	Open     bool                `yaml:"open" doc:"every user of this machine may enter, without a password"`
	TLS      *bridge.Certificate `yaml:"tls" doc:"its certificate; without it there is no TLS"`
}

// NATS is the NATS server with JetStream. Without Listen only the MQTT broker uses it.
type NATS struct {
	Listen     string              `yaml:"listen,short" doc:"host:port; port 0 is any free one"`
	Store      string              `yaml:"store,path" doc:"folder; empty: a temporary one, removed at the end"`
	Shared     bool                `yaml:"shared" doc:"others may own store, or write to it: a volume with fsGroup, or without owners"`
	Durability string              `yaml:"durability" enum:"power|process" doc:"what acknowledged messages survive; empty: power"`
	MaxStore   bridge.Size         `yaml:"max_store" doc:"most bytes in the store; 0: 1 GiB"`
	MaxPayload bridge.Size         `yaml:"max_payload" doc:"largest message; 0: 8 MiB"`
	Username   string              `yaml:"username" doc:"who may enter; empty: nats, with a password that is made at the first start"`
	Password   bridge.Secret       `yaml:"password" doc:"its password"`
	Open       bool                `yaml:"open" doc:"every user of this machine may enter and administer streams, without a password"`
	TLS        *bridge.Certificate `yaml:"tls" doc:"its certificate; without it there is no TLS"`

	// Reserve is how many bytes of the disk the store leaves free; 0: half of what is free at the
	// start.
	Reserve bridge.Size `yaml:"-"`
	// Setting is what sets Shared, for errors; empty: that of NATS.
	Setting string `yaml:"-"`
	// Visitor says that the store is wanted for a moment only, so that others who want it may wait:
	// see [InUseError].
	Visitor bool `yaml:"-"`
}

const (
	defaultMaxStore   = 1 << 30
	defaultMaxPayload = 8 << 20
	mostMaxPayload    = 64 << 20

	leastPending = 16 << 20 // bytes that may wait for a client

	// mostUnacked messages of QoS 1 and 2 are with a client at most, so that one that reads slowly
	// is not disconnected over messages of 32 KiB: twice as many may wait, since what is being
	// written counts until all of it is.
	mostUnacked = 256
)

// place is the folder of the store; without a path it is a temporary one.
func (n NATS) place() owned.Place {
	return owned.Place{Path: n.Store, Shared: n.Shared, Setting: cmp.Or(n.Setting, "embedded: {nats: {shared: true}}")}
}

// Validate checks addresses, passwords and sizes.
func (s Settings) Validate() error {
	var errs []error
	nats := NATS{}
	if s.NATS != nil {
		nats = *s.NATS
		errs = append(errs, validateUser("nats", nats.Username, nats.Password, nats.Open))
		if nats.Listen != "" {
			errs = append(errs, validateListen("nats.listen", nats.Listen, nats.Username != ""))
		}
		if nats.Shared && nats.Store == "" {
			errs = append(errs, bridge.KeyErrorf("nats.shared",
				"a temporary store is nobody else's: name the folder that is shared in store"))
		}
		if nats.MaxStore < 0 {
			errs = append(errs, bridge.KeyErrorf("nats.max_store", "a size cannot be negative"))
		}
		if nats.MaxPayload < 0 || nats.MaxPayload > mostMaxPayload {
			errs = append(errs, bridge.KeyErrorf("nats.max_payload", "the most is %v", bridge.Size(mostMaxPayload)))
		}
		if nats.Durability != "" && nats.Durability != "power" && nats.Durability != "process" {
			errs = append(errs, bridge.KeyErrorf("nats.durability", "write power or process"))
		}
	}
	if m := s.MQTT; m != nil {
		errs = append(errs,
			validateUser("mqtt", m.Username, m.Password, m.Open),
			validateListen("mqtt.listen", m.Listen, m.Username != ""))
		listens := nats.Listen != "" || nats.Username != "" // else its user is nobody outside
		if name := cmp.Or(m.Username, mqttUser); listens && name == cmp.Or(nats.Username, natsUser) {
			errs = append(errs, bridge.KeyErrorf("mqtt.username",
				"%s is the user of NATS, who administers streams: give MQTT another one", name))
		}
	}
	return errors.Join(errs...)
}

func validateUser(key, username string, password bridge.Secret, open bool) error {
	switch {
	case (username == "") != password.IsZero():
		return bridge.KeyErrorf(key+".username", "username and password go together: set both or neither")
	case open && username != "":
		return bridge.KeyErrorf(key+".open", "open lets everybody in: leave out either it or username and password")
	}
	return nil
}

func validateListen(key, address string, guarded bool) error {
	host, _, err := splitAddress(address)
	if err != nil {
		return &bridge.KeyError{Key: key, Err: err}
	}
	if !guarded && !isLoopback(host) {
		return bridge.KeyErrorf(key,
			"%s can be reached from other machines: set username and password, or listen on 127.0.0.1", address)
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
