package embedded

import (
	"strings"
	"testing"
)

// TestRoom goes through what a system says of a disk.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		free            uint64
		writable, known bool
		want            string // "": there is room
	}{
		{1 << 40, true, true, ""},
		{roomMin, true, true, ""},
		{roomMin - 1, true, true, "the disk is full: 1023 KiB are free in /data"},
		{0, true, true, "0 KiB are free"},
		{0, true, false, ""},
		{1 << 40, false, true, "read-only"},
	} {
		err := checkRoom("/data/cim.db", func(folder string) (uint64, bool, bool) {
			if folder != "/data" {
				t.Errorf("asked about %q", folder)
			}
			return c.free, c.writable, c.known
		})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if free, writable, known := roomAt(t.TempDir()); known && (free == 0 || !writable) {
		t.Errorf("the disk of the tests: %d bytes free, writable: %t", free, writable)
	}
}
