package etcd

import (
	"errors"
	"flag"
	"fmt"
)

// Flags are the flags for the connection to etcd.
type Flags struct{ ca, cert, key string }

// Add adds the flags to set.
func (f *Flags) Add(set *flag.FlagSet) {
	set.StringVar(&f.ca, "etcd-ca", "", "trust the certificates in this PEM `file` for etcds://")
	set.StringVar(&f.cert, "etcd-cert", "", "the `file` of this server's certificate for etcds://")
	set.StringVar(&f.key, "etcd-key", "", "the `file` of the key to -etcd-cert")
}

// Options returns the options and the prefix that data, the value of flag -data, names. User
// and password come from the environment. If data is not an address of etcd, both results
// are empty. Errors are sentences for the user.
func (f *Flags) Options(data string, getenv func(string) string) (options Options, prefix string, err error) {
	secured := f.ca+f.cert+f.key != ""
	if !IsAddress(data) {
		if secured {
			err = errors.New("-etcd-ca, -etcd-cert and -etcd-key go with -data etcds://…")
		}
		return options, "", err
	}
	address, err := ParseAddress(data)
	if err != nil {
		return options, "", fmt.Errorf("invalid value %q for flag -data: %w", data, err)
	}
	options = Options{Members: address.Members, User: getenv("CARS_ETCD_USER"), Password: getenv("CARS_ETCD_PASSWORD")}
	switch {
	case address.TLS:
		options.TLS, err = TLSConfig(f.ca, f.cert, f.key)
	case secured:
		err = errors.New("-etcd-ca, -etcd-cert and -etcd-key go with -data etcds://…")
	}
	return options, address.Prefix, err
}
