//go:build !linux

package store

func remoteFilesystem(string) string { return "" }
