// Package flags has flags for values that package flag does not check: within bounds,
// and with an error that says which those are.
package flags

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration defines a flag for a duration from 0 to most, whose value so far is its
// default.
func Duration(set *flag.FlagSet, value *time.Duration, name, usage string, most time.Duration) {
	set.Func(name, fmt.Sprintf("%s (default %v)", usage, *value), func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > most {
			return fmt.Errorf("must be a duration such as 100ms or 1.5s, from 0 to %v", most)
		}
		*value = d
		return nil
	})
}

// Whole defines a flag for a whole number of least or more, whose value so far is its
// default.
func Whole(set *flag.FlagSet, value *int, name, usage string, least int) {
	set.Func(name, fmt.Sprintf("%s (default %d)", usage, *value), func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least {
			return fmt.Errorf("must be a whole number from %d on", least)
		}
		*value = n
		return nil
	})
}

// Number defines a flag for a number from 0, its default, to most.
func Number(set *flag.FlagSet, value *float64, name, usage string, most float64) {
	set.Func(name, usage, func(s string) error {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= 0 && x <= most) { // NaN is not, either
			return fmt.Errorf("must be a number from 0 to %g", most)
		}
		*value = x
		return nil
	})
}

// List defines a flag for a list, separated by commas, that is empty by default.
func List(set *flag.FlagSet, value *[]string, name, usage string) {
	set.Func(name, usage, func(s string) error {
		*value = nil
		for item := range strings.SplitSeq(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*value = append(*value, item)
			}
		}
		return nil
	})
}
