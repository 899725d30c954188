package embedded

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	bbolterrors "go.etcd.io/bbolt/errors"
)

// TestOpenFault: each fault is told with what to do about it, and only one of the
// file itself with the advice to restore or to move it away.
func TestOpenFault(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errEmpty, "restore it from a copy"},
		{damage(3, "has a wrong head"), "restore it from a copy"},
		{bbolterrors.ErrTimeout, "end that one"},
		{fs.ErrPermission, "let the user of this process read and write"},
		{syscall.EPERM, "let the user of this process read and write"},
		{syscall.EROFS, "mount it writable"},
		{syscall.ENOSPC, "make room"},
		{syscall.EFBIG, "make room"},
		{syscall.EMFILE, "raise `ulimit -n`"},
		{syscall.ENFILE, "raise `ulimit -n`"},
		{syscall.EIO, "look at the disk"},
	} {
		err := openFault(&os.PathError{Op: "open", Path: "cim.db", Err: c.err})
		if !errors.Is(c.err, bbolterrors.ErrTimeout) && !errors.Is(err, c.err) {
			t.Errorf("%v is not %v any more", err, c.err)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if damaged := errors.Is(c.err, errEmpty) || strings.Contains(c.err.Error(), "damaged"); !damaged && strings.Contains(err.Error(), "move it away") {
			t.Errorf("%v: advises to move a sound file away", err)
		}
	}
	if openFault(nil) != nil {
		t.Error("no error became one")
	}
}
