package mqtt

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// S32: what a source remembers of topics is bounded in bytes, whatever topics publishers choose.
func TestS32TopicsAreForgotten(t *testing.T) {
	const topics = 4000
	var intern interner
	topic := func(i int) []byte { return fmt.Appendf(nil, "%d/%s", i, strings.Repeat("x", maxTopic-10)) }
	for i := range topics {
		if b := topic(i); intern.topic(b).text != string(b) {
			t.Fatalf("topic %d is another one", i)
		}
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if kept := m.HeapAlloc; kept > 32<<20 {
		t.Errorf("%d MiB are kept of %d topics of 64 KiB", kept>>20, topics)
	}
	last := intern.last.text
	if again := intern.topic([]byte(last)).text; again != last {
		t.Error("a topic that is remembered is another one")
	}
	runtime.KeepAlive(&intern)
}
