package listen

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSConfig returns the configuration for a certificate and its key, which are files in
// PEM. Files that change are used for connections that begin a second later or after that.
// If they cannot be used, report is called once for each change, and the old ones stay in use.
func TLSConfig(certFile, keyFile string, report func(error)) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, report: report}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		GetCertificate: c.get,
		MinVersion:     tls.VersionTLS12,
		// The suites of TLS 1.2 with forward secrecy and without CBC, which is open to padding
		// oracles. Go lets nobody choose the suites of TLS 1.3.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}, nil
}

// A certificate is a pair of files that may be renewed while the server runs.
type certificate struct {
	certFile, keyFile string
	report            func(error)

	mu      sync.Mutex
	pair    tls.Certificate // in use
	files   [2]fileState    // the states of the files when they were loaded last
	checked time.Time
}

// A fileState is different after a file was written. It is zero for a missing file.
type fileState struct {
	modified time.Time
	size     int64
}

func (c *certificate) states() (states [2]fileState) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			states[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return states
}

// load reads the files. It notes their states first, so that a change meanwhile is loaded
// the next time.
func (c *certificate) load() error {
	c.files = c.states()
	c.checked = time.Now()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("cannot use the certificate in %s with the key in %s: %w; they must be a certificate and its key, in PEM", c.certFile, c.keyFile, err)
	}
	c.pair = pair
	return nil
}

// get is for the field GetCertificate of a [tls.Config].
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	const interval = time.Second // between two looks at the files
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= interval {
		c.checked = now
		if c.states() != c.files {
			if err := c.load(); err != nil {
				c.report(fmt.Errorf("%w; the one from before stays in use", err))
			}
		}
	}
	pair := c.pair // a copy: the connection keeps it when c.pair changes
	return &pair, nil
}
