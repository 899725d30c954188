// Package bench runs the scenarios of the figures: for each it starts the
// system under test as processes of their own, drives it with the binary's
// loadgen as another, and holds what that measured against what the system
// must reach. It keeps the evidence in a folder of results, makes of it what
// people read, and compares such folders.
//
// Other systems stand beside ours in one run, in turns, each with the settings
// that docs/peers.md explains; the floor, a bare server, stands beside each load
// and shows how far from the machine's limit a system is.
//
// It never measures anything itself, and a missed figure is no error; a
// delivery that went wrong is.
package bench
