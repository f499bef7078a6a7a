package record

import (
	"bytes"
	"slices"
	"strconv"
	"time"
)

// mostParameters bounds an element of structured data.
const mostParameters = 256

var (
	facilities = []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
	severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

// AppendSyslog appends the object of a line of syslog, be it RFC 5424 or RFC 3164; the latter also
// without priority, as files have it, or with a time as in RFC 3339. The keys are facility,
// facility_code, severity, severity_code, timestamp, hostname, appname, procid, msgid,
// structured_data, message, without those that the line does not have. A time without a year gets
// the last one in which it is no more than a day ahead of at, and the time zone of at.
func AppendSyslog(dst, line []byte, at time.Time) ([]byte, error) {
	s := &syslog{dst: append(dst, '{'), line: bytes.TrimPrefix(line, []byte(bom))}
	version5424 := s.priority()
	if version5424 {
		s.rfc5424()
	} else {
		s.rfc3164(at)
	}
	if s.err != nil {
		return dst, s.err
	}
	return append(s.dst, '}'), nil
}

// syslog is a line that is being read. After an error it does nothing.
type syslog struct {
	dst, line []byte
	at        int
	err       error
}

func (s *syslog) wrong(at int, text string) {
	if s.err == nil {
		s.err = wrongAt(at, "%s", text)
	}
}

func (s *syslog) key(key string) {
	if s.dst[len(s.dst)-1] != '{' {
		s.dst = append(s.dst, ',')
	}
	s.dst = append(strconv.AppendQuote(s.dst, key), ':')
}

func (s *syslog) text(v []byte, at int) {
	var err error
	if s.dst, err = AppendText(s.dst, v); err != nil {
		s.wrong(at, "what begins here "+err.Error())
	}
}

func (s *syslog) put(key string, v []byte, at int) {
	s.key(key)
	s.text(v, at)
}

// priority reads <PRI>, if it is there, and reports whether the version of RFC 5424 follows.
func (s *syslog) priority() bool {
	if len(s.line) == 0 || s.line[0] != '<' {
		return false
	}
	end := bytes.IndexByte(s.line[:min(5, len(s.line))], '>')
	n, err := 0, error(nil)
	if end > 0 {
		n, err = strconv.Atoi(string(s.line[1:end]))
	}
	if end < 2 || err != nil || n < 0 || n >= 8*len(facilities) {
		s.wrong(0, "the priority must be a number from 0 to 191 in < >")
		return false
	}
	s.put("facility", []byte(facilities[n/8]), 0)
	s.key("facility_code")
	s.dst = strconv.AppendInt(s.dst, int64(n/8), 10)
	s.put("severity", []byte(severities[n%8]), 0)
	s.key("severity_code")
	s.dst = strconv.AppendInt(s.dst, int64(n%8), 10)
	s.at = end + 1
	if bytes.HasPrefix(s.line[s.at:], []byte("1 ")) {
		s.at += 2
		return true
	}
	return false
}

// word reads up to the next space, which it takes, too.
func (s *syslog) word() (word []byte, at int) {
	at = s.at
	if i := bytes.IndexByte(s.line[at:], ' '); i >= 0 {
		s.at += i + 1
		return s.line[at : at+i], at
	}
	s.at = len(s.line)
	return s.line[at:], at
}

func (s *syslog) rfc5424() {
	for _, key := range []string{"timestamp", "hostname", "appname", "procid", "msgid"} {
		if s.at >= len(s.line) {
			s.wrong(s.at, "the "+key+" is missing")
			return
		}
		word, at := s.word()
		switch _, err := time.Parse(time.RFC3339Nano, string(word)); {
		case len(word) == 0:
			s.wrong(at, "the "+key+" is missing")
		case string(word) == "-":
			continue
		case key == "timestamp" && err != nil:
			s.wrong(at, "the timestamp must be as in RFC 3339")
		}
		s.put(key, word, at)
	}
	switch {
	case s.at < len(s.line) && s.line[s.at] == '-':
		s.at++
	case s.at < len(s.line) && s.line[s.at] == '[':
		s.structured()
	default:
		s.wrong(s.at, "structured data, or a - in its place, is missing")
	}
	if s.err == nil && s.at < len(s.line) {
		if s.line[s.at] != ' ' {
			s.wrong(s.at, "a space must stand before the message")
		}
		s.put("message", bytes.TrimPrefix(s.line[s.at+1:], []byte(bom)), s.at+1)
	}
}

// structured reads structured data: any number of [id name="value" …].
func (s *syslog) structured() {
	s.key("structured_data")
	s.dst = append(s.dst, '{')
	var ids [][]byte
	for s.err == nil && s.at < len(s.line) && s.line[s.at] == '[' {
		s.at++
		id, at := s.name(" ]")
		if slices.ContainsFunc(ids, func(b []byte) bool { return bytes.Equal(b, id) }) || len(ids) == mostParameters {
			s.wrong(at, "the id of an element stands twice, or there are too many")
			return
		}
		ids = append(ids, id)
		if s.dst[len(s.dst)-1] != '{' {
			s.dst = append(s.dst, ',')
		}
		s.text(id, at)
		s.dst = append(s.dst, ':', '{')
		s.parameters()
		s.dst = append(s.dst, '}')
	}
	s.dst = append(s.dst, '}')
}

// name reads up to one of the bytes that end it.
func (s *syslog) name(ends string) (name []byte, at int) {
	at = s.at
	i := bytes.IndexAny(s.line[at:], ends)
	if i <= 0 {
		s.wrong(at, "a name in structured data is missing, or has no end")
		return nil, at
	}
	s.at += i
	return s.line[at : at+i], at
}

type parameter struct {
	name, value []byte
	at          int
}

func (s *syslog) parameters() {
	var all []parameter
	for s.err == nil && s.at < len(s.line) && s.line[s.at] == ' ' {
		s.at++
		p := parameter{}
		if p.name, p.at = s.name(`= ]"`); !bytes.HasPrefix(s.line[s.at:], []byte(`="`)) || len(all) == mostParameters {
			s.wrong(s.at, `a parameter must be name="value", and an element can have 256`)
			return
		}
		p.value = s.quoted(s.at + 1)
		all = append(all, p)
	}
	if s.at >= len(s.line) || s.line[s.at] != ']' {
		s.wrong(s.at, "the ] of an element is missing")
		return
	}
	s.at++
	for i, p := range all {
		same := func(q parameter) bool { return bytes.Equal(p.name, q.name) }
		if slices.ContainsFunc(all[:i], same) {
			continue // it stands in the list of the first one
		}
		if i > 0 {
			s.dst = append(s.dst, ',')
		}
		s.text(p.name, p.at)
		s.dst = append(s.dst, ':')
		several := slices.ContainsFunc(all[i+1:], same)
		if several {
			s.dst = append(s.dst, '[')
		}
		s.text(p.value, p.at)
		for _, q := range all[i+1:] {
			if several && same(q) {
				s.dst = append(s.dst, ',')
				s.text(q.value, q.at)
			}
		}
		if several {
			s.dst = append(s.dst, ']')
		}
	}
}

// quoted reads the value whose quote stands there; a \ is one unless ", \ or ] follows.
func (s *syslog) quoted(at int) (v []byte) {
	for i := at + 1; i < len(s.line); i++ {
		switch c := s.line[i]; {
		case c == '"':
			s.at = i + 1
			return v
		case c == '\\' && i+1 < len(s.line) && bytes.IndexByte([]byte(`"\]`), s.line[i+1]) >= 0:
			i++
		}
		v = append(v, s.line[i])
	}
	s.wrong(at, "the quote that begins here has no end")
	return nil
}

// rfc3164 reads: Oct 11 22:14:15 host tag[pid]: message. What is no such head belongs to the
// message, as the RFC wants it.
func (s *syslog) rfc3164(now time.Time) {
	const stamp = "Jan _2 15:04:05"
	rest := s.line[s.at:]
	if t, err := time.Parse(stamp, string(rest[:min(len(stamp), len(rest))])); err == nil {
		s.put("timestamp", []byte(latest(t, now).Format(time.RFC3339)), s.at)
		s.at += len(stamp)
	} else if word, _, _ := bytes.Cut(rest, []byte{' '}); len(word) > 0 && timed(word) {
		s.put("timestamp", word, s.at)
		s.at += len(word)
	} else {
		if s.dst[len(s.dst)-1] == '{' {
			s.wrong(s.at, "neither a priority nor a time stands here")
		}
		s.put("message", rest, s.at)
		return
	}
	if s.at == len(s.line) || s.line[s.at] != ' ' {
		s.wrong(s.at, "a space and the name of a host must follow the time")
		return
	}
	s.at++
	host, at := s.word()
	s.put("hostname", host, at)
	rest = s.line[s.at:]
	end := bytes.IndexAny(rest, ":[ ")
	if end <= 0 || rest[end] == ' ' { // no tag
		s.put("message", rest, s.at)
		return
	}
	tag, pid, procAt := rest[:end], []byte(nil), s.at+end+1
	if rest[end] == '[' {
		if i := bytes.IndexByte(rest[end:], ']'); i > 0 && end+i+1 < len(rest) && rest[end+i+1] == ':' {
			pid, end = rest[end+1:end+i], end+i+1
		} else {
			s.put("message", rest, s.at)
			return
		}
	}
	s.put("appname", tag, s.at)
	if pid != nil {
		s.put("procid", pid, procAt)
	}
	s.put("message", bytes.TrimPrefix(rest[end+1:], []byte{' '}), s.at+end+1)
}

func timed(word []byte) bool {
	_, err := time.Parse(time.RFC3339Nano, string(word))
	return err == nil
}

// latest returns t, which has no year, in the last one that lets a clock be a day ahead of now.
func latest(t, now time.Time) (last time.Time) {
	for year := now.Year() - 8; year <= now.Year()+1; year++ { // 29 February may be as far as that
		c := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if c.Day() == t.Day() && !c.After(now.AddDate(0, 0, 1)) {
			last = c
		}
	}
	return last
}
