//go:build unix

package embedded

import (
	"errors"
	"os"
	"syscall"
)

// syncFolder returns when the folder's new names are on the disk, where the file
// system can say so.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	err = folder.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, folder.Close())
}
