package file

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

func openSource(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	if s.Follow {
		return openFollower(ctx, s, env)
	}
	return openReader(s, env)
}

// matches returns the paths that match any of the patterns, sorted, each once.
func matches(patterns []string) ([]string, error) {
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", p, err)
		}
		paths = append(paths, found...)
	}
	return compact(paths), nil
}

// compact returns the paths sorted, each once.
func compact(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}

// refuse returns the Refusals of lines too long. The stream that they were taken from began at that
// byte of the file.
func refuse(long []framing.Long, limit int, path string, start int64) error {
	return framing.Refuse(long, limit, func(l framing.Long) string {
		return fmt.Sprintf("the line at byte %d of %s", start+l.Offset, path)
	})
}
