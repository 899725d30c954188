//go:build !unix

package httpserve

// writeNow writes nothing: the caller writes on a goroutine of its own.
func writeNow(uintptr, []byte) int { return 0 }
