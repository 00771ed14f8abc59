// Command postino is the mail system: server, development server and the tools
// of the administrator in one binary.
//
// Flow: main reads the command line and signals; a command loads the
// configuration and either runs a node (dev, serve) or has an operation done by
// the server that runs on the data directory, or by the store itself when none
// runs.
//
// Exit codes: 0 done; 1 failed; 64 usage; 65 invalid or conflicting input; 67
// not found; 75 try again; 77 no permission; 78 configuration.
package main
