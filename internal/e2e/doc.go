// Package e2e holds the tests and benchmarks that drive the real binary, as its users
// do: it is built once, started with flags, talked to over TCP and by a browser, and
// stopped with signals. Load is made by a process of its own, and so are the servers
// that it is compared with. There is no code here for the server itself.
package e2e
