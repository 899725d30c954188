// Package bench runs the scenarios of the figures: for each it starts the
// binary's standalone as a process of its own, drives it with the binary's
// loadgen as another, and holds what that measured against what the system
// must reach. It writes a table for people and the evidence for those who
// doubt it: the raw reports and a manifest of the machine.
//
// It never measures anything itself, and a missed figure is no error; a
// delivery that went wrong is.
package bench
