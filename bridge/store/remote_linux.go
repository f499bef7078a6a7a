package store

import "golang.org/x/sys/unix"

// remoteFilesystem names the kind of network file system that dir is on, or returns an empty text.
func remoteFilesystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return ""
	}
	switch uint32(s.Type) { //nolint:gosec // magic numbers have 32 bits
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.SMB_SUPER_MAGIC, 0xff534d42, 0xfe534d42:
		return "smb"
	}
	return ""
}
