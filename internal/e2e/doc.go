// Package e2e holds the tests and benchmarks that drive the real binary, as its users
// do: it is built once, started with flags, talked to over TCP and by a browser, and
// stopped with signals. Load is made by a process of its own, and so are the servers
// that it is compared with. There is no code here for the server itself.
//
// What the server promises is written down in testdata, as conversations in text. Package
// conversation holds them, package check knows what is true of every answer, and package
// openapi reads the description of the API.
package e2e
