// Package e2e holds the tests that drive the real binary, as its users do: it
// is built once, started with flags, talked to over TCP and stopped with
// signals. There is no code here for the server itself.
package e2e
