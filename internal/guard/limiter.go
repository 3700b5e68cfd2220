package guard

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// A limiter lets each client make so many requests a second. It is the generic cell
// rate algorithm (ITU-T I.371, annex A), which needs one time for each client: when
// the requests it has made would be over, had they come at the rate that is allowed.
type limiter struct {
	interval time.Duration // between requests at that rate
	burst    time.Duration // how far over may lie in the future
	policy   string        // for the RateLimit-Policy field

	mu    sync.Mutex
	over  map[netip.Addr]time.Time
	sweep time.Time // when it is worth looking again for clients to forget
}

// maxClients bounds the memory for clients: some 6 MB.
const maxClients = 1 << 16

func newLimiter(rate float64) *limiter {
	requests := max(1, int(2*rate)) // in one burst
	const longest = 1 << 60         // some decades, of which two can be added
	interval := time.Duration(min(max(float64(time.Second)/rate, 1), longest))
	burst := time.Duration(requests) * interval
	return &limiter{
		interval: interval,
		burst:    burst,
		policy:   fmt.Sprintf(`"address";q=%d;w=%d`, requests, seconds(burst)),
		over:     make(map[netip.Addr]time.Time),
	}
}

// take counts a request. It returns how many more a client has left, after which time
// it will have all of them, and, if it has none for this one, how long to wait.
func (l *limiter) take(client netip.Addr, now time.Time) (left int, full, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over, known := l.over[client]
	if !known && len(l.over) >= maxClients {
		l.forget(now)
		if len(l.over) >= maxClients {
			client = netip.Addr{} // all further clients count as one
			over = l.over[client]
		}
	}
	if over.Before(now) {
		over = now
	}
	over = over.Add(l.interval)
	if wait = over.Sub(now) - l.burst; wait > 0 {
		return 0, over.Sub(now) - l.interval, wait
	}
	l.over[client] = over
	return int(-wait / l.interval), over.Sub(now), 0
}

// forget drops the clients that have all their requests left, as if they had never
// come. Looking for them takes time, and it is in vain before another burst is over.
func (l *limiter) forget(now time.Time) {
	if now.Before(l.sweep) {
		return
	}
	for client, over := range l.over {
		if !over.After(now) {
			delete(l.over, client)
		}
	}
	l.sweep = now.Add(l.burst / 2)
}

// clientOf is whose requests count together: an address or, with IPv6, the network
// of 64 bits that one customer has. What cannot be parsed counts as one.
func clientOf(remoteAddr string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := addrPort.Addr().Unmap().WithZone("")
	if addr.Is6() {
		network, _ := addr.Prefix(64) // which an IPv6 address has
		addr = network.Addr()
	}
	return addr
}
