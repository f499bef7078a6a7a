package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A list of a variable is what commas separate, in place of a list or of an item, and never code.
func TestListOfAVariable(t *testing.T) {
	l := loader(new(opened))
	env := map[string]string{"T": " a/#, b ,,{{ c }},${HOST},", "NONE": " , ", "ROOM": "hall"}
	for _, c := range []struct {
		text string
		want []string
	}{
		{"topics: '${list:T}'", []string{"a/#", "b", "{{ c }}", "${HOST}"}},
		{"topics: [x, '${list:T}', y]", []string{"x", "a/#", "b", "{{ c }}", "${HOST}", "y"}},
		{"topics: '${list:UNSET:-d,e}'", []string{"d", "e"}},
		{"topics: ['${list:NONE}', z]", []string{"z"}},
		{"topics: '${ROOM:?where}'", []string{"hall"}},
	} {
		o := new(opened)
		l := loader(o)
		l.Getenv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
		cfg, err := l.Parse("f", []byte("pipelines: {a: {from: {mq: {url: 'a://b', "+c.text+"}}, to: stdio}}"))
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		openAll(t, cfg)
		if diff := cmp.Diff(c.want, o.settings[0].(*mqSource).Topics); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
	l.Getenv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for text, want := range map[string]string{
		"topics: '${list:UNSET}'": "52: the variable UNSET is not set; " +
			"set it in the environment, or write ${list:UNSET:-default}",
		"topics: '${list:NONE}'": "51: topics is an empty list",
		"topics: 'a ${list:T}'": "54: ${list:…} stands for a list, and here is none wanted; " +
			"it is all of a value, or of an item, where a list of texts or numbers is wanted",
		"topics: t, session: '${list:T}'": "64: ${list:…} stands for a list, and here is none wanted; " +
			"it is all of a value, or of an item, where a list of texts or numbers is wanted",
		"topics: '${UNSET:?name the room}'": "52: the variable UNSET is not set; name the room",
		"topics: '${UNSET:?}'":              "52: the variable UNSET is not set",
		"topics: '${ROOM:+x}'": "52: ${…} does not name a variable; " +
			"write ${NAME}, ${NAME:-default}, ${file:path} or ${cred:NAME}, or $${ for the characters ${",
	} {
		_, err := l.Parse("f", []byte("pipelines: {a: {from: {mq: {url: 'a://b', "+text+"}}, to: stdio}}"))
		if err == nil || err.Error() != "f:1:"+want {
			t.Errorf("%s\n got %v\nwant f:1:%s", text, err, want)
		}
	}
}
