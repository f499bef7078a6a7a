package main

import (
	"fmt"
	"io"
	"strings"
)

// write prints p for people.
func (p promise) write(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n  %s, %s\n", p.Pipeline, p.Route, p.Guarantee, p.Order)
	for _, at := range p.From {
		at.write(&text, "from "+at.Type)
		at.OnError.write(&text, "    ")
	}
	if p.Buffer != nil {
		p.Buffer.write(&text, "buffer "+p.Buffer.Type)
	}
	for _, s := range p.Steps {
		if s.OnError != nil {
			s.write(&text, "  ")
		}
	}
	p.To.write(&text, "  ", "to ")
	p.OnError.write(&text, "  ")
	for _, warning := range p.Warnings {
		fmt.Fprintf(&text, "  warning: %s\n", warning)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (p place) write(w io.Writer, what string) {
	fmt.Fprintf(w, "  %s: %s: %s\n", what, p.Guarantee, p.Why)
}

func (s stage) write(w io.Writer, indent string) {
	fmt.Fprintf(w, "%sstep %s\n", indent, s.Type)
	s.OnError.write(w, indent+"  ")
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
	for _, s := range t.Steps {
		if s.OnError != nil {
			s.write(w, indent+"  ")
		}
	}
	t.OnError.write(w, indent+"  ")
	for _, e := range t.Entries {
		e.write(w, indent+"  ", "")
	}
}
