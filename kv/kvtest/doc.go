// Package kvtest is what every engine of package kv must pass: the contract of
// kv/kv.go as tests. An engine calls [Run] from its own tests with a factory;
// an engine that can lose power in a test gives [Store.Crash] too.
//
// Flow: Run opens a fresh store for each test, does something with it that the
// contract speaks of, closes or crashes it, and compares what is there with
// what the contract says; random histories are compared with a map in memory.
//
// Invariants: the tests never depend on speed; a test leaves no goroutine.
package kvtest
