//go:build !linux && !darwin && !freebsd

package store

import "errors"

func diskSpace(string) (total, free int64, err error) { return 0, 0, errors.ErrUnsupported }
