package guard

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// A limiter bounds the requests a second of each client. It is the generic cell rate
// algorithm (ITU-T I.371, annex A), which keeps one time for each client: the time at which
// the client's requests would have ended if they had come at the rate that is allowed.
type limiter struct {
	interval time.Duration // between two requests at the rate that is allowed
	burst    time.Duration // how far in the future a client's time may be
	policy   string        // for the RateLimit-Policy field

	mu    sync.Mutex
	over  map[netip.Addr]time.Time // the time of each client
	sweep time.Time                // when to look again for clients to forget
}

// maxClients bounds the memory for clients: some 6 MB.
const maxClients = 1 << 16

func newLimiter(rate float64) *limiter {
	requests := max(1, int(2*rate)) // in one burst
	const longest = 1 << 60         // some decades: the sum of two still fits
	interval := time.Duration(min(max(float64(time.Second)/rate, 1), longest))
	burst := time.Duration(requests) * interval
	return &limiter{
		interval: interval,
		burst:    burst,
		policy:   fmt.Sprintf(`"address";q=%d;w=%d`, requests, seconds(burst)),
		over:     make(map[netip.Addr]time.Time),
	}
}

// take counts a request of client at the time now. left is how many more requests the client
// may make at once, and full is the time until it may make a whole burst again. If this
// request is one too many, wait is how long the client must wait. Otherwise wait is 0.
func (l *limiter) take(client netip.Addr, now time.Time) (left int, full, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over, known := l.over[client]
	if !known && len(l.over) >= maxClients {
		l.forget(now)
		if len(l.over) >= maxClients {
			client = netip.Addr{} // all further clients share one time
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

// forget drops the clients that may make a whole burst: without an entry they may, too. It
// looks for them only once in half of l.burst, since that takes time.
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

// clientOf returns the client whose requests count together: an address or, with IPv6, the
// network of 64 bits that one customer has. Addresses that cannot be parsed are one client.
func clientOf(remoteAddr string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := addrPort.Addr().Unmap().WithZone("")
	if addr.Is6() {
		network, _ := addr.Prefix(64) // every IPv6 address has one
		addr = network.Addr()
	}
	return addr
}
