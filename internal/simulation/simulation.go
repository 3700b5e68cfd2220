// Package simulation makes a server as slow, and as unreliable, as the real one it stands
// in for. It knows neither what the server does nor how it waits.
package simulation

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"cars/internal/query"
	"cars/internal/rest"
)

// MaxDelay is the longest processing time that can be asked for. The server's write
// timeout leaves room for it.
const MaxDelay = time.Minute

// Settings are the settings of a server. With Delay 0 nothing is simulated: no request
// waits, and no request fails.
type Settings struct {
	Delay  time.Duration // processing time of a request that asks for none, 0 to MaxDelay
	Jitter time.Duration // up to this much more, uniformly at random; 0 to MaxDelay
	Fail   float64       // the fraction of requests that fail, 0 to 1
}

// AddFlags adds the flags that change s.
func (s *Settings) AddFlags(set *flag.FlagSet) {
	set.Var((*duration)(&s.Delay), "delay", "processing `time` of every request, as a real database would cost;\n0 turns all simulation off")
	set.Var((*duration)(&s.Jitter), "jitter", "up to this much more processing `time`, at random")
	set.Float64Var(&s.Fail, "fail", s.Fail, "answer this `fraction` of requests with 503, after their processing time and\nbefore they touch anything")
}

// A duration is the value of a flag. Set says more than "parse error" about a time without unit.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Set(text string) (err error) {
	if *(*time.Duration)(d), err = time.ParseDuration(text); err != nil {
		return errors.New("must be a time with its unit, such as 300ms or 2s")
	}
	return nil
}

// Check returns an error, a sentence for the user, about a flag that is out of range.
func (s Settings) Check() error {
	switch {
	case s.Delay < 0 || s.Delay > MaxDelay:
		return fmt.Errorf("invalid value %q for flag -delay: must be from 0 to 1m", s.Delay)
	case s.Jitter < 0 || s.Jitter > MaxDelay:
		return fmt.Errorf("invalid value %q for flag -jitter: must be from 0 to 1m", s.Jitter)
	case !(s.Fail >= 0 && s.Fail <= 1): // this is true for NaN, too
		return fmt.Errorf("invalid value \"%v\" for flag -fail: must be from 0 to 1", s.Fail)
	}
	return nil
}

// Useless returns the flags that are set but have no effect, since Delay is 0.
func (s Settings) Useless() (flags []string) {
	if s.Delay == 0 && s.Jitter > 0 {
		flags = append(flags, "-jitter")
	}
	if s.Delay == 0 && s.Fail > 0 {
		flags = append(flags, "-fail")
	}
	return flags
}

// Asked is what a request asks for. The zero value asks for nothing.
type Asked struct {
	delay *time.Duration // its own processing time
	fail  int            // the status with which it fails after that time, unprocessed; 0 for none
	Never bool           // neither to wait nor to fail, as a second trip for one request
}

// Read reads what r asks for in its query: _delay, in milliseconds, and _fail.
func Read(r *http.Request) (asked Asked, err error) {
	if r.URL.RawQuery == "" { // true of nearly all requests for one item
		return asked, nil
	}
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return asked, err
	}
	ms, err := query.Int(values, "_delay", 0, int(MaxDelay.Milliseconds()), -1)
	if err != nil {
		return asked, err
	}
	if ms >= 0 {
		asked = After(time.Duration(ms) * time.Millisecond)
	}
	asked.fail, err = query.Int(values, "_fail", 400, 599, 0)
	return asked, err
}

// After asks for delay as the processing time.
func After(delay time.Duration) Asked { return Asked{delay: &delay} }

// AsksForDelay reports whether r may ask for a processing time.
func AsksForDelay(r *http.Request) bool {
	return strings.Contains(r.URL.RawQuery, "_delay") || strings.Contains(r.URL.RawQuery, "%") && r.URL.Query().Has("_delay")
}

// Time returns how long a request waits before it is processed.
func (s Settings) Time(asked Asked) time.Duration {
	switch {
	case s.Delay == 0, asked.Never:
		return 0
	case asked.delay != nil:
		return *asked.delay
	default:
		return s.Delay + rand.N(s.Jitter+1)
	}
}

// Failure returns the error with which a request is to fail, a [rest.Error], or nil.
func (s Settings) Failure(asked Asked) error {
	if s.Delay == 0 || asked.Never || asked.fail == 0 && (s.Fail == 0 || rand.Float64() >= s.Fail) {
		return nil
	}
	err := rest.Errorf(cmp.Or(asked.fail, http.StatusServiceUnavailable), "Simulated failure")
	if err.Status == http.StatusTooManyRequests || err.Status == http.StatusServiceUnavailable {
		err.RetryAfter = 1
	}
	return err
}
