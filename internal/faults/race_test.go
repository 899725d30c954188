//go:build race

package faults

// buildFlags let the binary report its own data races.
var buildFlags = []string{"-race"}
