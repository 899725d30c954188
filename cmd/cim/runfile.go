package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A process that serves leaves its addresses in a file of its own for as long
// as it lives, where cim admin finds them. It holds a lock on the file, which
// the kernel takes away with the process however that ends: so a file without a
// lock is of a process that has gone, and is removed.

const (
	// runFolderName is the folder of the files, in the user's runtime folder.
	runFolderName = "cim"
	runFileSuffix = ".json"
	// runFilesMax bounds the files that cim admin reads, many of which may be of killed processes;
	// runBytesMax bounds what it reads of each.
	runFilesMax = 16_384
	runBytesMax = 4 << 10
	// runSweepMax bounds the files that a process looks at when it leaves its own,
	// to remove those of processes that were killed.
	runSweepMax = 64
)

// runFolders are the folders where the files may be, the best first: the folder of the user's
// session, which a process outside of it finds by the user's id, or one that all processes of the
// user share.
func runFolders() []string {
	user := strconv.Itoa(os.Getuid())
	session := os.Getenv("XDG_RUNTIME_DIR")
	if session == "" {
		session = filepath.Join("/run/user", user)
	}
	return []string{filepath.Join(session, runFolderName), filepath.Join(os.TempDir(), runFolderName+"-"+user)}
}

// checkRunFolder refuses a folder that another user could have filled.
func checkRunFolder(folder string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	if !private(info) {
		return fmt.Errorf("%s is not a folder of this user alone", folder)
	}
	return nil
}

// leaveRunFile leaves the addresses of this process, until remove.
func leaveRunFile(a addresses) (remove func(), err error) {
	var faults []error
	for _, folder := range runFolders() {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			faults = append(faults, err)
			continue
		}
		remove, err := leaveRunFileIn(folder, a)
		if err == nil {
			return remove, nil
		}
		faults = append(faults, err)
	}
	return nil, errors.Join(faults...)
}

// leaveRunFileIn makes the file under another name, so that none of that name is
// ever seen without its lock.
func leaveRunFileIn(folder string, a addresses) (remove func(), err error) {
	if err := checkRunFolder(folder); err != nil {
		return nil, err
	}
	listenersIn(folder, runSweepMax)
	file, err := os.CreateTemp(folder, "new-*")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, strconv.Itoa(os.Getpid())+runFileSuffix)
	if err = tryLock(file); err == nil {
		if err = writeAddresses(file, a); err == nil {
			err = os.Rename(file.Name(), path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(file.Name()), file.Close())
	}
	return func() {
		// The lock shows as well that the process has gone.
		_ = os.Remove(path)
		_ = file.Close()
	}, nil
}

// runningListeners are the URLs of the admin listeners of this user's processes
// on this machine, in the order of their files' names.
func runningListeners() []string {
	var urls []string
	for _, folder := range runFolders() {
		if checkRunFolder(folder) != nil {
			continue // it does not exist, or another user made it
		}
		for _, url := range listenersIn(folder, runFilesMax) {
			if !slices.Contains(urls, url) {
				urls = append(urls, url)
			}
		}
	}
	return urls
}

// listenersIn reads at most most files of a folder, and removes those of processes that have ended.
func listenersIn(folder string, most int) (urls []string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != runFileSuffix })
	for _, entry := range entries[:min(len(entries), most)] {
		if url, ok := runningListener(filepath.Join(folder, entry.Name())); ok {
			urls = append(urls, url)
		}
	}
	return urls
}

// runningListener reads a file, and removes it if its process has gone.
func runningListener(path string) (url string, running bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false // it has just ended
	}
	defer file.Close()
	if err := tryShare(file); err == nil {
		removeStale(file, path)
		return "", false
	}
	text, err := io.ReadAll(io.LimitReader(file, runBytesMax))
	var a addresses
	if err != nil || json.Unmarshal(text, &a) != nil {
		return "", false
	}
	url = listenerURL(a.Admin)
	return url, checkListenerURL(url) == nil
}

// removeStale removes the file at path, unless another process has put one there since. A file that
// cannot be removed does no harm.
func removeStale(file *os.File, path string) {
	stale, err := file.Stat()
	now, fault := os.Lstat(path)
	if err == nil && fault == nil && os.SameFile(stale, now) {
		_ = os.Remove(path)
	}
}

// listenerURL is the URL by which this machine reaches a listener at address:
// all addresses, as 0.0.0.0 or ::, are reached at loopback.
func listenerURL(address string) string {
	host, port, err := net.SplitHostPort(address)
	if at, fault := netip.ParseAddr(host); err == nil && fault == nil && at.IsUnspecified() {
		address = net.JoinHostPort(map[bool]string{true: loopback, false: "::1"}[at.Is4()], port)
	}
	return "http://" + strings.TrimSpace(address)
}
