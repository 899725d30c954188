// Package arch holds the project to ARCHITECTURE.md: its test reads every Go
// file of the module and reports imports that do not go downwards, outside
// libraries that come in by the wrong door, anything impure in a pure package,
// packages without a doc, files that grew too long, and names that say
// nothing.
//
// It has no code besides its test, and nothing imports it.
package arch
