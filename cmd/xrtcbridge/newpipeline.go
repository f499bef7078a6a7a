package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// named has topics of MQTT become subjects of NATS in the sink of a new file, and the other way.
func named(text []byte, from, to string) []byte {
	function := map[string]string{"mqtt nats": "toSubject", "nats mqtt": "toTopic"}[from+" "+to]
	if function == "" {
		return text
	}
	sink := bytes.LastIndex(text, []byte("\n    to:\n"))
	return append(text[:sink:sink], bytes.ReplaceAll(text[sink:], []byte("{{ topic }}"),
		[]byte("{{ "+function+"(topic) }}"))...)
}

func newNewPipeline(s std, folders *pluginFolders) *cobra.Command {
	var from, to, out string
	var steps []string
	cmd := &cobra.Command{
		Use:   "pipeline --from CONNECTOR --to CONNECTOR",
		Short: "Write a commented pipeline file, to begin with",
		Long: `pipeline writes a file with one pipeline that check accepts: what the connectors want, with values of
their examples, and as comments every other setting, with its default and what it is for.`,
		Example: `  xrtcbridge new pipeline --from mqtt --to xrtc --out pipelines.yaml
  xrtcbridge new pipeline --from file --step parse --step filter --to nats`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return failure{
					code: exitUsage, err: errors.New("--from and --to say which connectors the pipeline has"),
					hint: "xrtcbridge connectors lists them",
				}
			}
			k := folders.catalog(s.warnings())
			defer k.close()
			text, err := k.loader(cmd.Context()).NewFile(from, steps, to)
			if text == nil {
				if mistakes, is := errors.AsType[config.Errors](err); is {
					m := mistakes[0]
					return failure{code: exitUsage, err: errors.New(m.Message), hint: m.Hint}
				}
				return failure{code: exitUsage, err: err}
			}
			if err != nil {
				fmt.Fprintf(s.err, "complete this by hand:\n%v\n", err)
			}
			text = named(text, from, to)
			if out == "" {
				_, err := s.out.Write(text)
				return err
			}
			return writeNew(s, out, text)
		},
	}
	folders.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "`connector` that messages come from")
	cmd.Flags().StringArrayVar(&steps, "step", nil, "`step` that they go through; repeatable")
	cmd.Flags().StringVar(&to, "to", "", "`connector` that they go to")
	cmd.Flags().StringVarP(&out, "out", "o", "",
		"`file` to write, which must not be there yet; without it, standard output")
	for flag, settings := range map[string]func(bridge.Connector) any{
		"from": func(c bridge.Connector) any { return openerSettings(c.Source) },
		"step": func(c bridge.Connector) any { return openerSettings(c.Step) },
		"to":   func(c bridge.Connector) any { return openerSettings(c.Sink) },
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, completeEnd(folders, s, settings))
	}
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(s std, name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return failure{code: exitUsage, err: err, hint: "choose another name: what is there is left as it is"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "wrote %[1]s. Fill in your values, and then:\n  xrtcbridge check %[1]s\n", name)
	return err
}
