package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

//go:generate go test -count=1 -run ^TestPagesAreCurrent$ . -write

// writeMarkdown writes a page about connectors, the same that connectors and steps show.
func writeMarkdown(w io.Writer, all []bridge.Connector) error {
	var b strings.Builder
	level := "#"
	if len(all) > 1 {
		level = "##"
		title := "Connectors"
		if all[0].Source == nil && all[0].Sink == nil {
			title = "Steps"
		}
		fmt.Fprintf(&b, "# %s\n\n| name | what it is |\n|---|---|\n", title)
		for _, c := range all {
			fmt.Fprintf(&b, "| [`%[1]s`](#%[1]s) | %[2]s |\n", c.Name, cell(c.Summary))
		}
		b.WriteString("\n")
	}
	for i, c := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		markdownOf(&b, c, level)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownOf(b *strings.Builder, c bridge.Connector, level string) {
	fmt.Fprintf(b, "%s %s\n\n%s. It can be a %s.\n", level, c.Name, upper(c.Summary), strings.Join(kinds(c), " and a "))
	if c.Delivery != "" {
		fmt.Fprintf(b, "\nDelivery: %s.\n", strings.TrimSuffix(c.Delivery, "."))
	}
	guarantee := func(kind string, d bridge.Description) {
		fmt.Fprintf(b, "\nA %s delivers %s, by default: %s.\n", kind, d.Guarantee.Level, cmp.Or(d.Guarantee.Why, c.Delivery))
	}
	if c.Source != nil {
		guarantee("source", config.Describe(c.Source, c.Source.Settings()))
		markdownKeys(b, level, "a source", c.Source.Settings())
		if len(c.Headers) > 0 {
			fmt.Fprintf(b, "\n%s# Headers that it sets\n\n", level)
			for _, header := range c.Headers {
				name, says, _ := strings.Cut(header, ": ")
				fmt.Fprintf(b, "- `%s`: %s\n", name, says)
			}
		}
	}
	if c.Step != nil {
		markdownKeys(b, level, "a step", c.Step.Settings())
	}
	if c.Sink != nil {
		guarantee("sink", config.Describe(c.Sink, c.Sink.Settings()))
		markdownKeys(b, level, "a sink", c.Sink.Settings())
	}
	fmt.Fprintf(b, "\n%s# Example\n\n```yaml\n%s```\n", level, c.Example)
}

func markdownKeys(b *strings.Builder, level, of string, settings any) {
	keys := config.Keys(settings)
	if len(keys) == 0 {
		fmt.Fprintf(b, "\nThere are no settings of %s.\n", of)
		return
	}
	fmt.Fprintf(b, "\n%s# Settings of %s\n\n| key | type | default | what it is for |\n|---|---|---|---|\n", level, of)
	for _, k := range keys {
		note := strings.TrimPrefix(keyDefault(k), "default ")
		if k.Default != "" {
			note = "`" + note + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", keyName(k, settings), cell(keyType(k)), cell(note), cell(k.Doc))
	}
}

// cell is text that a table may hold.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(text)
}

// upper begins text with a capital letter.
func upper(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
