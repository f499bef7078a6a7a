package bridge_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestResultOfRefusals(t *testing.T) {
	for _, c := range []struct {
		refused   []int
		delivered int
		settled   int
		left      []int
	}{
		{nil, 0, 0, nil},
		{nil, 3, 3, nil},
		{[]int{0}, 0, 1, []int{0}},
		{[]int{1}, 0, 0, nil},
		{[]int{1}, 1, 2, []int{1}},
		{[]int{0, 1, 3, 4}, 1, 5, []int{0, 1, 3, 4}},
		{[]int{0, 2, 9}, 1, 3, []int{0, 2}},
		{[]int{5}, 9, 10, []int{5}},
	} {
		var refused bridge.Refusals
		for _, i := range c.refused {
			refused = append(refused, bridge.Refusal{Index: i})
		}
		got := refused.Result(c.delivered)
		var left []int
		for _, r := range got.Refused {
			left = append(left, r.Index)
		}
		if diff := cmp.Diff(fmt.Sprint(c.settled, c.left), fmt.Sprint(got.Settled, left)); diff != "" {
			t.Errorf("%v refused, %d delivered (-want +got):\n%s", c.refused, c.delivered, diff)
		}
	}
}
