package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/joho/godotenv"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// configFlag adds a flag that names pipeline files, the same for all commands.
func configFlag(cmd *cobra.Command, flags *pflag.FlagSet, files *[]string, usage string) {
	flags.StringArrayVarP(files, "config", "c", nil, usage+"; repeatable")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // it is there
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml")
	flags.Func("env-file", "`file` with lines NAME=value, for variables that the environment does not have; "+
		"repeatable, and "+
		"the first that has one counts", readEnvFile)
}

// readEnvFile puts into the environment what it does not have, so that all see it who look there.
func readEnvFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const most = 1 << 20 // a pipe is as good as a file, and neither need end
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return err
	}
	if len(text) > most {
		return fmt.Errorf("larger than %v, which is no env file", bridge.Size(most))
	}
	values, err := godotenv.UnmarshalBytes(text)
	if err != nil { // the library quotes what it read
		return errors.New("not an env file, whose lines are NAME=value")
	}
	for name, value := range values {
		if _, set := os.LookupEnv(name); !set {
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return nil
}

// takesFiles makes a command take pipeline files, as arguments or by the flag --config: files,
// folders and patterns, and - for standard input.
func takesFiles(cmd *cobra.Command, run func(cmd *cobra.Command, files []string) error) *cobra.Command {
	return takesNames(cmd, func(cmd *cobra.Command, names []string) error {
		files, err := config.Files(names...)
		if err != nil {
			return failure{code: exitUsage, err: err}
		}
		return run(cmd, files)
	})
}

// takesNames is takesFiles for a command that finds out itself what the names stand for.
func takesNames(cmd *cobra.Command, run func(cmd *cobra.Command, files []string) error) *cobra.Command {
	var named []string
	configFlag(cmd, cmd.Flags(), &named, "the same as FILE")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	cmd.RunE = func(cmd *cobra.Command, files []string) error { return run(cmd, append(named, files...)) }
	return cmd
}

// andFiles makes a command take pipeline files beside its other arguments, which are names, or
// numbers: what cannot be one is a file, a folder or a pattern.
func andFiles(cmd *cobra.Command, files *[]string) *cobra.Command {
	cmd.Use += " [FILE...]"
	args, run := cmd.Args, cmd.RunE
	cmd.Args = func(cmd *cobra.Command, all []string) error {
		if args == nil {
			return nil
		}
		names, _ := namesAndFiles(all)
		return args(cmd, names)
	}
	cmd.RunE = func(cmd *cobra.Command, all []string) error {
		names, found := namesAndFiles(all)
		*files = append(*files, found...)
		return run(cmd, names)
	}
	return cmd
}

func namesAndFiles(args []string) (names, files []string) {
	for _, arg := range args {
		if config.ValidName(arg) {
			names = append(names, arg)
		} else {
			files = append(files, arg)
		}
	}
	return names, files
}

// asFile returns how a file is named where names stand, too.
func asFile(name string) string {
	if config.ValidName(name) {
		return "./" + name
	}
	return name
}

// durationFlag adds a flag that is written as a duration in a file, and 0 unless given.
func durationFlag(flags *pflag.FlagSet, to *time.Duration, name, usage string) {
	flags.Func(name, usage, func(text string) (err error) {
		*to, err = config.ParseDuration(text)
		return err
	})
}

// wordFlag adds a flag that is one of some words, and empty unless given.
func wordFlag(cmd *cobra.Command, to *string, name, usage string, words ...string) {
	cmd.Flags().Func(name, usage, func(word string) error {
		if *to = word; !slices.Contains(words, word) {
			last := len(words) - 1
			return fmt.Errorf("want %s or %s", strings.Join(words[:last], ", "), words[last])
		}
		return nil
	})
	oneOf(cmd, name, words...)
}

// oneOf completes a flag with words.
func oneOf(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeEnd completes --from and --to: a connector, and then its keys.
func completeEnd(folders *pluginFolders, s std, settings func(bridge.Connector) any) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		k := folders.catalog(s.warnings())
		defer k.close()
		if err := k.loadPlugins(cmd.Context(), nil); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var all []string
		given := strings.Split(typed, ",")
		before := strings.TrimSuffix(typed, given[len(given)-1])
		for _, name := range k.registry.Names() {
			switch c, _ := k.registry.Lookup(name); {
			case settings(c) == nil:
			case before == "":
				all = append(all, name+"\t"+c.Summary)
			case name == given[0]:
				for _, key := range config.Keys(settings(c)) {
					if !slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, key.Name+"=") }) {
						all = append(all, before+key.Name+"=\t"+key.Type)
					}
				}
			}
		}
		return all, directive
	}
}

// openerSettings returns the settings that an opener wants, nil if there is no opener.
func openerSettings[T any](o bridge.Opener[T]) any {
	if o == nil {
		return nil
	}
	return o.Settings()
}
