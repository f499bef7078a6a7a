package expr

import "testing"

// What people write most runs as if there were no meter.
func TestS46UsualExpressionsAreNotMetered(t *testing.T) {
	for _, text := range []string{
		"topic startsWith 'site/'", "topic matches '^site/[a-z]+/temp$'", "topic == 'a' || id == payload",
		"payload contains 'alarm'",
		"segment(topic, 1)", "split(topic, '/')[0]", "replace(topic, '/', '.')", "json.c > 20 && json.room != 'hall'",
		"json.a.b ?? 'none'",
		"json.kind in ['a', 'b']", "'out/' + json.room + '/' + string(seq)", "upper(json.room)",
		"time.Format('2006-01-02')", "len(json.list) > 3",
		"json.list[0].x", "trim(json.a, ' ') + trim(payload)", "{'a': topic, 'b': json.c}",
		"duration(json.d) > duration('1m')", "json.a ? topic : id", "1..3",
	} {
		p, err := compile(Part{Text: text, Code: true})
		if err != nil {
			t.Fatal(err)
		}
		if p.code.metered {
			t.Errorf("%s is metered", text)
		}
	}
}
