package main

import (
	"fmt"
	"io"
	"strings"
)

// write prints p for people.
func (p promise) write(w io.Writer) error {
	var text strings.Builder
	switch {
	case !p.Broken:
		p.writeWhole(&text)
	case len(p.Warnings) > 0:
		fmt.Fprintf(&text, "%s: has mistakes\n", p.Pipeline)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(&text, "  warning: %s\n", warning)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (p promise) writeWhole(w io.Writer) {
	drops := ""
	if p.Drops {
		drops = "; what is refused is dropped, and counted"
	}
	disabled := ""
	if p.Disabled {
		disabled = " (disabled)"
	}
	fmt.Fprintf(w, "%s%s: %s\n", p.Pipeline, disabled, p.Route)
	for line := range strings.Lines(p.Description) {
		fmt.Fprintf(w, "  # %s\n", strings.TrimSpace(line))
	}
	fmt.Fprintf(w, "  %s, %s%s\n", p.Guarantee, p.Order, drops)
	if p.Optional {
		fmt.Fprintf(w, "  optional: the bridge is ready without it\n")
	}
	if p.StaleAfter != "" {
		fmt.Fprintf(w, "  degraded when nothing has come for %s\n", p.StaleAfter)
	}
	for _, at := range p.From {
		at.write(w, "from "+at.Type)
		at.OnError.write(w, "    ")
	}
	if p.Buffer != nil {
		p.Buffer.write(w, "buffer "+p.Buffer.Type)
	}
	writeSteps(w, "  ", p.Steps)
	p.To.write(w, "  ", "to ")
	p.OnError.write(w, "  ")
}

func (p place) write(w io.Writer, what string) {
	fmt.Fprintf(w, "  %s: %s: %s\n", what, p.Guarantee, p.Why)
}

// writeSteps prints the steps that have an on_error, or something to say of what they keep.
func writeSteps(w io.Writer, indent string, steps []place) {
	for _, s := range steps {
		why := ""
		if s.Why != "" {
			why = ": " + s.Why
		}
		if s.OnError != nil || why != "" {
			fmt.Fprintf(w, "%sstep %s%s\n", indent, s.Type, why)
			s.OnError.write(w, indent+"  ")
		}
	}
}

func (f *fate) write(w io.Writer, indent string) {
	if f != nil {
		fmt.Fprintf(w, "%son_error %s: %s\n", indent, f.Then, f.Why)
	}
}

// write prints a branch, one line for each entry below the other.
func (t target) write(w io.Writer, indent, what string) {
	what += t.Type + t.Mode
	if t.By != "" {
		what += " by " + t.By
	}
	if t.When != "" {
		what += " when " + t.When
	}
	after := " after "
	for _, s := range t.Steps {
		what += after + s.Type
		after = ", "
	}
	if t.Mode == "" {
		what += ": " + t.Guarantee + ": " + t.Why
	}
	fmt.Fprintf(w, "%s%s\n", indent, what)
	writeSteps(w, indent+"  ", t.Steps)
	t.OnError.write(w, indent+"  ")
	for _, e := range t.Entries {
		e.write(w, indent+"  ", "")
	}
}
