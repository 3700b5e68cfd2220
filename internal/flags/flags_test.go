package flags

import (
	"flag"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestFlags(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"d", "1s", "1s 5 0 []"}, {"d", "0", "0s 5 0 []"}, {"d", "1m", "1m0s 5 0 []"},
		{"d", "61s", "must be a duration such as 100ms or 1.5s, from 0 to 1m0s"},
		{"d", "-1s", "must be a duration such as 100ms or 1.5s, from 0 to 1m0s"},
		{"d", "1", "must be a duration such as 100ms or 1.5s, from 0 to 1m0s"},
		{"w", "1", "10ms 1 0 []"},
		{"w", "0", "must be a whole number from 1 on"}, {"w", "1.5", "must be a whole number from 1 on"}, {"w", "", "must be a whole number from 1 on"},
		{"n", "0.25", "10ms 5 0.25 []"}, {"n", "2", "10ms 5 2 []"},
		{"n", "2.1", "must be a number from 0 to 2"}, {"n", "-0.1", "must be a number from 0 to 2"}, {"n", "NaN", "must be a number from 0 to 2"},
		{"l", "a, b,,c", "10ms 5 0 [a b c]"}, {"l", "", "10ms 5 0 []"},
	} {
		d, w, n, l := 10*time.Millisecond, 5, 0.0, []string(nil)
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		set.SetOutput(io.Discard)
		Duration(set, &d, "d", "a `duration`", time.Minute)
		Whole(set, &w, "w", "a `number`", 1)
		Number(set, &n, "n", "a `number`", 2)
		List(set, &l, "l", "a `list`")
		got := ""
		if err := set.Parse([]string{"-" + test.name, test.value}); err != nil {
			got = err.Error()
			test.want = fmt.Sprintf("invalid value %q for flag -%s: %s", test.value, test.name, test.want)
		} else {
			got = fmt.Sprint(d, " ", w, " ", n, " ", l)
		}
		if got != test.want {
			t.Errorf("-%s %q: got %s, want %s", test.name, test.value, got, test.want)
		}
	}
}
