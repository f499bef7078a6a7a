package record

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Object returns the members of a JSON object in their order.
func Object(text []byte) ([]Member, error) {
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	return members(gjson.ParseBytes(text))
}

// Member is a key of an object with its value.
type Member struct {
	Key   string
	Value gjson.Result
}

// String returns the value as text: a string itself, nothing of null, and else its JSON.
func (m Member) String() string {
	switch m.Value.Type {
	case gjson.String:
		return m.Value.Str
	case gjson.Null:
		return ""
	default:
		return m.Value.Raw
	}
}

func members(v gjson.Result) (all []Member, err error) {
	if !v.IsObject() {
		return nil, fmt.Errorf("it is %s, and must be an object", nameOf(v))
	}
	v.ForEach(func(key, value gjson.Result) bool {
		all = append(all, Member{key.Str, value})
		return true
	})
	return all, nil
}

func nameOf(v gjson.Result) string {
	switch {
	case v.IsObject():
		return "an object"
	case v.IsArray():
		return "an array"
	}
	return map[gjson.Type]string{
		gjson.String: "a text", gjson.Number: "a number", gjson.Null: "null", gjson.True: "true", gjson.False: "false",
	}[v.Type]
}

// Array returns the elements of a JSON array, and of a longer one that many. Index says where they
// are.
func Array(text []byte, most int) (all []gjson.Result, err error) {
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	v := gjson.ParseBytes(text)
	if !v.IsArray() {
		return nil, fmt.Errorf("it is %s, and must be an array", nameOf(v))
	}
	v.ForEach(func(_, e gjson.Result) bool {
		all = append(all, e)
		return len(all) < most
	})
	return all, nil
}

// WriteRows makes rows of CSV of a JSON object, or an array of them. Columns are those that c
// names; without, they are the keys of the first object, and another key in a later one is an
// error. Header says to begin with a row of their names. There is no end of line behind the last
// row. It is an error if that would take more than so many bytes, about.
func WriteRows(text []byte, c CSV, header bool, most int) ([]byte, error) {
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	all := []gjson.Result{gjson.ParseBytes(text)}
	if all[0].IsArray() {
		all = all[0].Array()
	}
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	w.Comma = rune(c.comma())
	var index map[string]int
	var row []string
	for i, v := range all {
		if out.Len() > most {
			return nil, fmt.Errorf("it would become larger than %v", bridge.Size(most))
		}
		object, err := members(v)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		if index == nil {
			names := c.Columns
			if len(names) == 0 {
				names = keysOf(object)
			}
			if index = make(map[string]int, len(names)); header {
				_ = w.Write(names) // a buffer takes all
			}
			for k, name := range names {
				index[name] = k
			}
			row = make([]string, len(names))
		}
		clear(row)
		for _, m := range object {
			if k, known := index[m.Key]; known {
				row[k] = m.String()
			} else if len(c.Columns) == 0 {
				return nil, fmt.Errorf("row %d has a key that the first one has not; the setting columns names them", i+1)
			}
		}
		if len(row) == 1 && row[0] == "" { // else the line would be empty, which is no row
			w.Flush()
			out.WriteString("\"\"\n")
			continue
		}
		_ = w.Write(row)
	}
	if w.Flush(); w.Error() != nil {
		return nil, w.Error()
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}

func keysOf(object []Member) []string {
	names := make([]string, len(object))
	for i, m := range object {
		names[i] = m.Key
	}
	return names
}

// Write makes a line of pairs of a JSON object.
func (p Pairs) Write(text []byte) ([]byte, error) {
	object, err := Object(text)
	if err != nil {
		return nil, err
	}
	between := p.Delimiter
	if between == "" {
		between = " "
	}
	special := " \t\r\n\"\\" + between + p.Assign
	var out []byte
	for i, m := range object {
		if m.Key == "" || strings.ContainsAny(m.Key, special) {
			return nil, fmt.Errorf("key %d is empty, or has a character that a key cannot have", i+1)
		}
		if i > 0 {
			out = append(out, between...)
		}
		out = append(append(out, m.Key...), p.Assign...)
		if v := m.String(); v == "" || strings.ContainsAny(v, special) {
			out = append(out, '"')
			out = append(out, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v)...)
			out = append(out, '"')
		} else {
			out = append(out, v...)
		}
	}
	return out, nil
}

// WriteSyslog makes a line of RFC 5424 of a JSON object that has the keys which [AppendSyslog]
// makes; those that it lacks are -, the priority is user.notice, and the time is at.
func WriteSyslog(text []byte, at time.Time) ([]byte, error) {
	object, err := Object(text)
	if err != nil {
		return nil, err
	}
	words := []string{at.Format("2006-01-02T15:04:05.999999Z07:00"), "-", "-", "-", "-"}
	facility, severity, data, message := 1, 5, "-", ""
	for _, m := range object {
		bad := false
		switch v := m.String(); m.Key {
		case "facility", "severity":
			n := slices.Index(map[string][]string{"facility": facilities, "severity": severities}[m.Key], v)
			if bad = n < 0; m.Key == "facility" {
				facility = n
			} else {
				severity = n
			}
		case "facility_code", "severity_code":
			n, err := strconv.Atoi(v)
			if m.Key == "facility_code" {
				bad, facility = err != nil || n < 0 || n >= len(facilities), n
			} else {
				bad, severity = err != nil || n < 0 || n >= len(severities), n
			}
		case "timestamp", "hostname", "appname", "procid", "msgid":
			k := slices.Index([]string{"timestamp", "hostname", "appname", "procid", "msgid"}, m.Key)
			bad = v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) || k == 0 &&
				!timed([]byte(v))
			words[k] = v
		case "structured_data":
			data, bad = structuredData(m.Value)
		case "message":
			message = " " + v
		default:
			return nil, fmt.Errorf("an object for syslog has the keys facility, facility_code, severity, severity_code, " +
				"timestamp, hostname, appname, procid, msgid, structured_data and message, and this one has another")
		}
		if bad {
			return nil, fmt.Errorf("its %s cannot stand in a line of syslog", m.Key)
		}
	}
	return fmt.Appendf(nil, "<%d>1 %s %s%s", facility*8+severity, strings.Join(words, " "), data, message), nil
}

func structuredData(v gjson.Result) (text string, bad bool) {
	isName := func(s string) bool {
		return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
			return r <= ' ' || r > '~' ||
				strings.ContainsRune(`="]`, r)
		})
	}
	elements, err := members(v)
	bad = err != nil
	for _, e := range elements {
		parameters, err := members(e.Value)
		bad = bad || err != nil || !isName(e.Key)
		text += "[" + e.Key
		for _, p := range parameters {
			values := []gjson.Result{p.Value}
			if p.Value.IsArray() {
				values = p.Value.Array()
			}
			for _, one := range values {
				value := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(Member{p.Key, one}.String())
				bad = bad || !isName(p.Key)
				text += " " + p.Key + `="` + value + `"`
			}
		}
		text += "]"
	}
	if text == "" {
		text = "-"
	}
	return text, bad
}
