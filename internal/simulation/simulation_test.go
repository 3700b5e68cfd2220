package simulation

import (
	"net/http/httptest"
	"testing"
	"time"
)

func TestJitterStaysWithinItsBounds(t *testing.T) {
	s := Settings{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond}
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		took := s.Time(Asked{})
		shortest, longest = min(shortest, took), max(longest, took)
	}
	if shortest < s.Delay || longest > s.Delay+s.Jitter {
		t.Errorf("processing times were %v to %v, want %v to %v", shortest, longest, s.Delay, s.Delay+s.Jitter)
	}
	if longest-shortest < s.Jitter/2 {
		t.Errorf("processing times were %v to %v, want them spread over %v", shortest, longest, s.Jitter)
	}
}

func TestAFractionFails(t *testing.T) {
	s := Settings{Delay: time.Millisecond, Fail: 0.3}
	failed := 0
	for range 1000 {
		if s.Failure(Asked{}) != nil {
			failed++
		}
	}
	if failed < 230 || failed > 370 {
		t.Errorf("%d of 1000 failed, want about 300", failed)
	}
	if s.Failure(Asked{Never: true}) != nil || (Settings{Fail: 1}).Failure(Asked{}) != nil {
		t.Error("failed though nothing is simulated")
	}
}

func TestReadAndAsksForDelay(t *testing.T) {
	for _, test := range []struct {
		query string
		time  time.Duration
		fails bool
		asks  bool
		err   bool
	}{
		{"", time.Second, false, false, false},
		{"year=2020", time.Second, false, false, false},
		{"_delay=5", 5 * time.Millisecond, false, true, false},
		{"%5Fdelay=5", 5 * time.Millisecond, false, true, false},
		{"name=a%20b", time.Second, false, false, false},
		{"_delay=0&_fail=418", 0, true, true, false},
		{"_delay=60001", 0, false, true, true},
		{"_delay=x", 0, false, true, true},
		{"_fail=200", 0, false, false, true},
	} {
		r := httptest.NewRequest("GET", "/?"+test.query, nil)
		asked, err := Read(r)
		if (err != nil) != test.err || AsksForDelay(r) != test.asks {
			t.Errorf("%s: got %v, and asks for a delay: %v", test.query, err, AsksForDelay(r))
		}
		s := Settings{Delay: time.Second}
		if err == nil && (s.Time(asked) != test.time || (s.Failure(asked) != nil) != test.fails) {
			t.Errorf("%s: got %v and %v", test.query, s.Time(asked), s.Failure(asked))
		}
	}
}
