// Package file provides the connector for files of lines, rows and other records: one of them is
// one message.
//
// # Settings
//
// Each is described in [SourceSettings] and [SinkSettings]. Patterns are those of a shell (*, ?,
// [a-z], {a,b}), where ** is any number of folders and follows no links to others; an exclude
// without a slash is about the last element of a path. The source reads the files that match, in
// the order of their names, and ends; or with follow: true it stays, takes in what is added to
// them, and new files. If a line that flush_after has delivered is finished later, the rest is a
// line of its own. Topic is the path of the file.
//
// Keep counts the rotated files beside each one, and, where the template of the sink's path writes
// the date of the message, or of now, the year first, all files that differ in it only.
//
// Codec says what a message is, see [framing.Codec]; lines if nothing is set. Of csv, each file has
// its own row with the names of its columns, which a source that follows finds there after a
// restart, too; a row becomes a JSON object with the columns in their order. Of whole, an empty
// file is no message, and with follow: true a file is whole when it has not grown for flush_after.
// Of multiline, the last message of a file that is followed ends after 5 s, or flush_after.
//
// A message is a line without its newline, the carriage return before that, and the byte order mark
// at the beginning of a file; without encoding all other bytes pass unchanged. Files packed by gzip
// and zstd are known by what they begin with, and unpacked. The sink writes payload and newline, or
// only the payload if that ends with one; payload is a template of something else to write.
//
// # Delivery
//
// A source that follows saves a checkpoint, every tenth of a second and at a stop, that never is
// ahead of what was delivered: a restart goes on there, also in files that were renamed or packed
// meanwhile; after a crash the lines of that time come again. A source that does not follow reads
// its files from the beginning as often as it is opened. A line that is followed has an id, of its
// file, its offset in it and its checksum, which is the same when it comes again.
//
// A file is known by its inode with the time of its birth, by how it begins, and by the KiB before
// the offset. The same inode, with that unchanged, is the same file, whatever its name; with other
// content it is a new one. Another inode is the same file only if both agree, as in a copy and in
// what was packed. Where that is not enough, for there are two such files, or one line is all they
// have in common, a file is read from its start: twice beats never. Each of these guesses is
// logged.
//
// While it runs, it loses no line of a file that is renamed or deleted, also if it happens while
// the sinks are stalled, as long as it has seen the file: it looks whenever the system reports a
// change, and every poll besides, or after a hundred times as long as looking takes, if that is
// longer, but 5 s at most. A file that is created, filled and deleted in between goes unseen. Files
// that came and were rotated while it was down are known by their names (app.log.1,
// app-20261127.log, both perhaps with .gz or .zst) and read; if several rotations fall into one
// tick of the file system's clock, the order of those files is not known. A file that was not read
// to its end is found by its inode under any name in its folder, and in the folders there, or by
// its content if it was packed or copied there under the name of a rotated file; if it is gone,
// that is logged, with how many bytes of it were seen and not read. A quarter of the files that the
// process may open are kept open, 512 at most; above that those that have been quiet longest are
// closed, and found again by their names when they grow.
//
// A file that is copied and then truncated (logrotate's copytruncate) can never be followed
// exactly: what is written between the copy and the cut is gone before anybody can read it. What
// the source had not read yet it reads in the copy; without one that is logged and counts as
// dropped, as does what was unread in a file that is gone for good, as far as it is known. A file
// that begins as one that stands at its place may be a copy in the making, and is held back for 2
// s, or for a minute if its name is one that rotation gives to that. NULs at the beginning of a
// file, which a writer leaves that goes on behind a cut, are skipped.
//
// A last line without newline waits for it as long as the file is followed, unless flush_after is
// set. When its file has gone, it is delivered as it is.
//
// The sink has delivered a message when it is on the disk, since it calls fsync once for each batch
// and file; with sync: false it survives a crash of this process, and not one of the machine. If a
// file does not end in a newline when it is opened, a crash has cut its last message, which its
// source delivers again: the fragment is moved to a file of that name with .torn behind it.
//
// Rotation renames a file to its name with the local time, .20060102T150405.000, behind it, never
// over another one, and the new file has mode and owner of the old one. Age and at set a file aside
// when it is time, whether messages come or not, but no empty one; what a template names and is not
// open waits for its next message. Age is that of the file; where the file system does not tell it,
// the time of its last change counts. Nobody else may write to a file while the sink has it open.
//
// # Errors
//
// A line longer than max_line is refused: on_error gets the first KiB of it, and the source goes on
// behind it; of csv, json and multiline, behind the line in which it became too long, so that a
// quote or a bracket that is never closed costs no more than max_line. A row or value that cannot
// be read is refused with its byte and column. A row of names in which one stands twice, or none of
// which 64 KiB have an end, stops the pipeline. Folders, pipes, terminals and other devices are
// refused by name, and folders skipped where a pattern meets them. Unless the source follows, a
// pattern that matches no file and a file that cannot be read stop the pipeline; if it follows,
// such a file is logged and tried again. So it is with files packed in a way that cannot be
// unpacked here, and with damaged ones.
//
// A symbolic link of another user than the bridge's and root leads only to what is that user's,
// too: who can make links where the bridge looks could have it read or write what they may not. The
// rest is an error, of reading and of writing.
//
// A payload that would become several lines is refused, unless encode says otherwise: json and
// base64 make one line of each payload, and raw lets it be several.
//
// A sink that has no permission, or whose path cannot be a file, stops the pipeline.
//
// A templated path never leaves the folder that stands before its first {{, whatever is in the
// message: no "..", no absolute path, no symbolic link leads out. A message with such a path, or
// with one that cannot be rendered or be that of a file, or, with keep, of a rotated one, is
// refused. So is one with a control character, or with more than 32 folders or 1,024 bytes behind
// that folder. Folders are made with mode 0700 and files with 0600, unless mode says otherwise; a
// folder can be entered by whoever may read its files. After a write that failed half-way (a full
// disk) the file is cut back to its last whole message.
//
// # Decisions
//
// Identity is a table of facts, and a pure function of a record and what lies on the disk
// (2026-11). Names say only which unknown files may belong to a path. The first KiB alone is the
// header of many, an inode alone is used again, and strategies to choose from are each right half
// the time.
package file

import (
	"cmp"
	"context"
	_ "embed"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	open := newHandles()
	return bridge.Connector{
		Name:     "file",
		Summary:  "lines of files, followed and rotated",
		Delivery: "the sink syncs to disk before it confirms; a followed file goes on after a restart",
		Example:  example,
		Source: bridge.NewOpener(defaultSource(), func(ctx context.Context, s *SourceSettings,
			env bridge.Env,
		) (bridge.Source, error) {
			c, err := newCharset(s.Encoding)
			c.codec = s.Codec
			if err := cmp.Or(err, s.impossible()); err != nil {
				return nil, bridge.Permanent(err)
			}
			if s.Follow {
				return openFollower(ctx, s, env, c, open)
			}
			return openReader(s, env, c)
		}),
		Sink: bridge.NewOpener(SinkSettings{Form: framing.Form{Encode: "text"}, Sync: true}, openSink),
	}
}
