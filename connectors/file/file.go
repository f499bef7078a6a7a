// Package file provides the connector for files of lines: one line is one message.
//
// # Settings
//
// The source has path, one pattern or several in the manner of a shell (*, ?, [a-z]). It reads the
// files that match, in the order of their names, and ends; or with follow: true it stays, takes in
// what is added to them, and new files. from: end skips what is there when it is opened, max_line
// is the longest line allowed, and poll is how often it looks. Topic is the path of the file.
//
// The sink has path, which may hold {{ }}; rotate with size, age and keep (0 keeps all); and sync,
// which is true unless set to false.
//
// A message is a line without its newline. All other bytes pass unchanged. The sink writes payload
// and newline, so a payload that holds newlines becomes several lines.
//
// # Delivery
//
// A source that follows saves a checkpoint, every tenth of a second and at a stop, that never is
// ahead of what was delivered: a restart goes on there, also in files that were renamed meanwhile;
// after a crash the lines of that time come again. A source that does not follow reads its files
// from the beginning as often as it is opened. A line that is followed has an id, of its file, its
// offset in it and its checksum, which is the same when it comes again.
//
// While it runs, it loses no line of a file that is renamed or deleted, also if it happens while
// the sinks are stalled, as long as it has seen the file: it looks whenever the system reports a
// change, and every poll besides. A file that is created, filled and deleted in between goes
// unseen. If several rotations fall into one tick of the file system's clock, no line is lost, but
// the order of those files is not known. Of more than 512 files, those that have been quiet longest
// are closed, and found again by their names when they grow. Files that end in .gz, .zst, .xz,
// .bz2, .lz4 or .zip are never followed.
//
// A file that is copied and then truncated (logrotate's copytruncate) can never be followed
// exactly: what is written between the copy and the cut is gone before anybody can read it. What
// the source itself had not read yet is logged. The copy is not read, also if the pattern matches
// its name: a file that comes later with a rotated name and begins as the current one does counts
// as a copy.
//
// A last line without newline waits for it as long as the file is followed. When its file has gone,
// it is delivered as it is.
//
// The sink has delivered a message when it is on the disk, since it calls fsync once for each batch
// and file. With sync: false it has when the operating system has it: that survives a crash of this
// process, and not one of the machine. If a file does not end in a newline when it is opened, a
// crash has cut its last message, which its source delivers again: the fragment is moved to a file
// of that name with .torn behind it. Rotation renames the file to its name with
// .20060102T150405.000Z behind it. Nobody else may write to a file while the sink has it open.
//
// # Errors
//
// A line longer than max_line is refused: on_error gets the first KiB of it, and the source goes on
// behind it. Unless the source follows, a pattern that matches no file and a file that cannot be
// read stop the pipeline; if it follows, such a file is logged and tried again. A pipe is refused
// by both: reading it may block for ever, and what is written to it may be read by nobody.
//
// A sink that has no permission, or whose path cannot be a file, stops the pipeline.
//
// A templated path never leaves the folder that stands before its first {{, whatever is in the
// message: no "..", no absolute path, no symbolic link leads out. A message with such a path, or
// with one that cannot be rendered or be that of a file, is refused. Folders are made with mode
// 0700 and files with 0600. After a write that failed half-way (a full disk) the file is cut back
// to its last whole message.
package file

import (
	_ "embed"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	return bridge.Connector{
		Name:     "file",
		Summary:  "lines of files, followed and rotated",
		Delivery: "the sink syncs to disk before it confirms; a followed file goes on after a restart",
		Example:  example,
		Source:   bridge.NewOpener(defaultSource(), openSource),
		Sink:     bridge.NewOpener(SinkSettings{Sync: true}, openSink),
	}
}
