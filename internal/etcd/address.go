package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// An Address names a cluster and a place in it: etcd://host:2379,host:2379/prefix, with
// etcds for TLS.
type Address struct {
	Members []string // host:port of each
	Prefix  string   // with which keys begin; it has no slash at either end
	TLS     bool
}

// IsAddress reports whether text is meant to be an address.
func IsAddress(text string) bool {
	return strings.HasPrefix(text, "etcd://") || strings.HasPrefix(text, "etcds://")
}

// ParseAddress reads an address. Errors are sentences for the user.
func ParseAddress(text string) (Address, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	hosts, prefix, _ := strings.Cut(rest, "/")
	a := Address{Prefix: strings.Trim(prefix, "/"), TLS: scheme == "etcds"}
	switch {
	case scheme != "etcd" && scheme != "etcds":
		return a, errors.New("must begin with etcd:// or etcds://")
	case strings.Contains(hosts, "@"):
		return a, errors.New("must not have a user or a password in it: they would be seen in the list of processes")
	case a.Prefix == "":
		return a, errors.New("needs a prefix for its keys behind the hosts, such as /cars")
	case strings.ContainsAny(rest, "?# \t\n"):
		return a, errors.New("must not have ?, # or spaces in it")
	}
	for member := range strings.SplitSeq(hosts, ",") {
		host, port, err := net.SplitHostPort(member)
		if err != nil && !strings.Contains(strings.Trim(member, "[]"), ":") || strings.HasSuffix(member, "]") {
			host, port = strings.Trim(member, "[]"), "2379"
		} else if err != nil {
			return a, fmt.Errorf("%q is not host:port", member)
		}
		if number, err := net.LookupPort("tcp", port); host == "" || err != nil || number == 0 {
			return a, fmt.Errorf("%q is not host:port", member)
		}
		a.Members = append(a.Members, net.JoinHostPort(host, port))
	}
	return a, nil
}

// TLSConfig returns the settings for TLS. ca names a file with the certificates to trust; if
// it is empty, the system's are trusted. cert and key name the files of the client's own
// certificate, or are empty. etcd refuses passwords from clients whose certificate has a
// common name.
func TLSConfig(ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s has no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if cert == "" {
		return config, nil
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, err
	}
	// Files that have been renewed are used for the next connections.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return config, nil
}
