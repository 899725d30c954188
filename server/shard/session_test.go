package shard

import (
	"testing"
	"unsafe"
)

// sessionBytesMax bounds a slot: a chunk of them is whole pages.
const sessionBytesMax = 192

// TestSessionSize: a server has a hundred thousand sessions, most of them idle.
func TestSessionSize(t *testing.T) {
	if size := unsafe.Sizeof(session{}); unsafe.Sizeof(uintptr(0)) == 8 && size > sessionBytesMax {
		t.Errorf("a session takes %d bytes, want %d at most: what few sessions need belongs behind a pointer", size, sessionBytesMax)
	}
}
