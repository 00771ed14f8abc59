// Package config turns the text of postino.toml into typed values, and finds
// all that is wrong with it at once.
//
// Flow:
//  1. [Load] reads one file; [Parse] takes its text.
//  2. The keys of the text are walked in order. One table of keys says what
//     each of them is: type, default, range and explanation. The same table
//     makes [Example].
//  3. What one key cannot tell is checked at the end: addresses that are used
//     twice, TLS without a certificate, logins in clear.
//  4. On reload the text is read again and compared with [Diff]; nothing is
//     used of a text that has an error.
//
// Invariants: a [Config] that is returned is complete and within all ranges; an
// error names file, line and column and what to write instead; no variable of
// the environment and no other file has a say.
//
// Limits: a file of 1 MiB; 100 errors are reported.
//
// Standards: TOML 1.0.
package config
