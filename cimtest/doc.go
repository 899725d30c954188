// Package cimtest starts a whole cim in a test's own process: a server and a
// route on free ports of the loopback, with their data in t.TempDir. It is for
// the tests of applications that are built on package client or on the HTTP
// API.
//
//	func TestBot(t *testing.T) {
//		system := cimtest.Start(t)
//		startBot(t, system.Route()) // the application, with the URL of the route
//		system.AwaitOnline("bot")
//
//		ann := system.Login("ann")
//		if _, err := ann.Send(t.Context(), system.Find("bot").ID, "hello"); err != nil {
//			t.Fatal(err)
//		}
//		if answer := ann.Next(); answer.Text != "hello, ann" {
//			t.Errorf("the bot answered %q", answer.Text)
//		}
//	}
//
// # Its end
//
// The end of the test ends the clients that Login and Dial made, then the
// system. No goroutine of cim, no port and no file is left. What stays are
// goroutines that two of its libraries keep for the life of the process; a test
// with goleak names them by LibraryGoroutines. Nothing is global, so parallel
// tests may each have a system, and one test several.
//
// # Reconnects
//
// Kill ends the system as a crash does: connections break without a word, and
// unconfirmed messages are lost. Stop drains it, as a deployment does.
// Restart brings it back with the same data at the same addresses.
//
// # What a system is not
//
// It is `cim standalone` without its admin listener, with one event loop. A
// cluster has other faults: docs/operations.md describes them, `cim cluster`
// runs one.
package cimtest
