package expr

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/builtin"

	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// nameHint says what an unknown name may have meant.
func nameHint(name string) string {
	if here, ok := elsewhere()[name]; ok {
		return "it is " + here + " here"
	}
	known := slices.Sorted(maps.Keys(variables()))
	hint := "variables: " + strings.Join(known, ", ") + "; xrtcbridge help expressions lists the functions"
	if here, ok := otherLanguages()[name]; ok {
		return "write " + here
	}
	// A name of more differences is one of the author's, whose message has it in its JSON.
	for _, list := range [][]string{append(known, Functions()...), builtin.Names} {
		if k := suggest.Within(name, list, 1); k != "" && elsewhere()[k] == "" && len(name) > 2 {
			return "did you mean " + k + "? " + hint
		}
	}
	return hint + "; a text is written in quotes"
}

// otherLanguages has names from other languages, with what to write for them.
func otherLanguages() map[string]string {
	all := make(map[string]string)
	for here, there := range map[string]string{
		"nil":           "null undefined none None NULL NaN",
		"true or false": "True False TRUE FALSE",
		"json for the payload's JSON, or payload for its bytes as text": "this root msg message body data doc event",
		"header":                           "headers meta metadata",
		"json.x != nil":                    "exists has isset defined",
		"round(x, n), floor(x) or abs(x)":  "Math toFixed",
		"len(x)":                           "length size",
		"float(x)":                         "number Number toNumber parseFloat",
		"int(x)":                           "parseInt integer",
		"string(x)":                        "str String toString",
		"x[0:3] for a part of a text":      "substr substring slice",
		`format(t, "2006-01-02 15:04:05")`: "strftime formatTime formatDate ts_format",
		`parseTime(text)`:                  "strptime Date ts_parse",
		"condition ? a : b":                "iif ifelse",
		`capture(text, "pattern")[1]`:      "regex regexp re_find_all extract",
	} {
		for name := range strings.FieldsSeq(there) {
			all[name] = here
		}
	}
	return all
}

// tokenHint says what to write in place of a token, which is in quotes, of a text.
func tokenHint(token, text string) string {
	switch t := strings.Trim(token, `"`); {
	case t == "=" && strings.Contains(text, "=~"), t == "like", t == "~":
		return "operators for texts are contains, startsWith, endsWith and matches"
	case t == "=":
		return "write == to compare"
	case t == ">" && strings.Contains(text, "<>"):
		return "write != for what differs"
	case t == "then", t == "if":
		return "write condition ? a : b"
	case t == "AND" || t == "OR" || t == "NOT" || t == "IN":
		return "write " + strings.ToLower(t)
	case t == "is" || t == "equals" || t == "eq":
		return "write =="
	case t == ".":
		return "write json.x for a field of the payload's JSON"
	case len(t) > 1 && strings.Trim(t, ".0123456789") == "":
		return "an item of a list is written [" + strings.Trim(t, ".") + "]"
	}
	return ""
}

var dashed = regexp.MustCompile(`\.([A-Za-z_]\w*(?:-[A-Za-z]\w*)+)`)

// dashHint says how to write a key that the language takes for a difference.
func dashHint(text string) string {
	m := dashed.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return `write ["` + m[1] + `"] in place of ` + m[0] + `, since - is minus`
}

// memberHint says what to write for a field or method that only other values have.
func memberHint(name, text string) string {
	switch {
	case strings.Contains(text, "payload."+name):
		return "write json." + name + " for a field of the payload's JSON"
	case slices.Contains([]string{"contains", "startsWith", "endsWith", "matches"}, name):
		return "it is an operator: x " + name + ` "text"`
	case slices.Contains(Functions(), name) || slices.Contains(builtin.Names, name):
		return "it is a function: " + name + "(x)"
	}
	return ""
}
