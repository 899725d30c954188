//go:build race

package e2e

// buildFlags let the binary report its own data races.
var buildFlags = []string{"-race"}
