package main

import (
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func TestEverySettingSaysWhatItIs(t *testing.T) {
	all := map[string]any{"sections": allSections()}
	for _, part := range config.Parts() {
		all[part.Name] = part.Settings
	}
	r := builtin()
	for _, name := range r.Names() {
		c, _ := r.Lookup(name)
		for kind, settings := range map[string]any{
			" source": openerSettings(c.Source),
			" sink":   openerSettings(c.Sink), " step": openerSettings(c.Step),
		} {
			if settings != nil {
				all[name+kind] = settings
			}
		}
	}
	for of, settings := range all {
		// The configuration asks, though a connection is missing.
		if v, ok := settings.(interface{ Validate() error }); ok {
			_ = v.Validate() // which does not panic
		}
		for _, k := range config.Keys(settings) {
			if k.Doc == "" {
				t.Errorf("%s: %s has no doc tag", of, k.Name)
			}
		}
	}
}
