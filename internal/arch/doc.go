// Package arch checks the project against ARCHITECTURE.md: its test reads every Go
// file of the module and reports imports that do not go downwards, outside
// libraries that come in by the wrong door, impure code in a pure package, packages
// without a doc, files that are too long, and names without a meaning.
//
// It has no code besides its test, and nothing imports it.
package arch
