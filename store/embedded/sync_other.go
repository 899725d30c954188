//go:build !linux

package embedded

import "os"

func syncData(file *os.File) error { return file.Sync() }
