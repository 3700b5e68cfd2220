package guard

import (
	"io"
	"net/http"
	"time"
)

// Linger reads what a client still sends after next has refused it, if the client
// has asked for the connection to be closed. Otherwise net/http would close it at
// once, and the operating system would answer what arrives then with a reset, which
// overtakes the refusal.
func Linger(next http.Handler) http.Handler {
	const (
		patience = 500 * time.Millisecond // as net/http has with other clients
		enough   = 256 << 20              // bytes, on a fast network
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.Close && r.ContentLength != 0 {
			connection := http.NewResponseController(w)
			if connection.Flush() == nil && connection.SetReadDeadline(time.Now().Add(patience)) == nil {
				io.CopyN(io.Discard, r.Body, enough)
			}
		}
	})
}
