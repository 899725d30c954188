package token

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// lookEvery is the least time between two checks of a key file.
const lookEvery = time.Second

// File is a key file that is read again when it changes. If the new content is
// invalid, the old keys stay.
type File struct {
	path    string
	changed func(*Keys, error)

	mu     sync.Mutex
	keys   *Keys
	seen   stamp
	looked time.Time
}

// stamp changes when the file changes. A replaced file has another identity, even
// with the same size and time.
type stamp struct {
	info os.FileInfo
}

func (s stamp) same(other os.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, other) && s.info.Size() == other.Size() && s.info.ModTime().Equal(other.ModTime())
}

// OpenFile reads the key file at path. After the file has been read again, a caller
// of Keys calls changed: with the new keys, or with the reason why the old ones
// stay; changed must not call Keys.
func OpenFile(path string, changed func(*Keys, error)) (*File, error) {
	f := &File{path: path, changed: changed}
	keys, info, err := f.read()
	if err != nil {
		return nil, err
	}
	f.keys, f.seen = keys, stamp{info}
	return f, nil
}

// Keys returns the keys of the file as of the last second. Any goroutine may call
// it. now is the time.
func (f *File) Keys(now time.Time) *Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	if passed := now.Sub(f.looked); passed < 0 || passed >= lookEvery {
		f.looked = now
		f.look()
	}
	return f.keys
}

func (f *File) look() {
	info, err := os.Stat(f.path)
	if err == nil && f.seen.same(info) || err != nil && f.seen.info == nil {
		return
	}
	keys, info, err := f.read()
	f.seen = stamp{info} // nil after an error of the file system: read again
	if err == nil {
		f.keys = keys
	}
	f.changed(keys, err)
}

// read returns the keys, and the file's stamp if it could be opened.
func (f *File) read() (*Keys, os.FileInfo, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, KeyFileMax+1))
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	keys, err := ParseKeys(content)
	if err != nil {
		return nil, info, fmt.Errorf("key file %q: %w", f.path, err)
	}
	return keys, info, nil
}
