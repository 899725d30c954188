package embedded

import (
	"fmt"
	"path/filepath"
)

// roomMin is the free space in bytes below which the store is not ready. A small
// change may still find room in the file, but a burst of messages does not.
const roomMin = 1 << 20

// checkRoom says why the disk takes no more, or nil.
func checkRoom(path string, roomAt func(string) (free uint64, writable, known bool)) error {
	folder := filepath.Dir(path)
	free, writable, known := roomAt(folder)
	switch {
	case !known:
		return nil
	case !writable:
		return fmt.Errorf("the file system of %s is mounted read-only", folder)
	case free < roomMin:
		return fmt.Errorf("the disk is full: %d KiB are free in %s, at least %d are needed", free>>10, folder, roomMin>>10)
	}
	return nil
}
