package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"go.etcd.io/bbolt"
)

// A file that was cut or damaged must be refused in words: bbolt maps the file
// into memory and trusts what it finds there, so a number that is wrong ends
// the process. inspect reads the same pages before, and trusts none.
//
// The layout is bbolt's, in the machine's byte order. A page has a head of 16
// bytes: id (8), kind (2), count of elements (2), further pages that it covers
// (4). Pages 0 and 1 each have a meta, of which the newer valid one counts.
const (
	pageHead    = 16
	elementSize = 16

	pageBranch = 1
	pageLeaf   = 2
	pageFree   = 16

	countElsewhere = 0xFFFF

	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaChecked = 56 // bytes before the checksum
	noFreelist  = ^uint64(0)

	bucketHead = 16 // of a bucket's value: root page (8), sequence (8)
	isBucket   = 1  // flag of a leaf's element

	pageSizeLeast = 1 << 10
	pageSizeMost  = 16 << 20
)

var native = binary.NativeEndian

// meta is what the inspection needs of one.
type meta struct {
	pageSize, root, freelist, pages, txid uint64
}

// readMeta returns the meta of the page that begins at a byte of the file.
func readMeta(file io.ReaderAt, at int64) (meta, bool) {
	var b [metaSize]byte
	if _, err := file.ReadAt(b[:], at+pageHead); err != nil {
		return meta{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:metaChecked])
	m := meta{
		pageSize: uint64(native.Uint32(b[8:])), root: native.Uint64(b[16:]), freelist: native.Uint64(b[32:]),
		pages: native.Uint64(b[40:]), txid: native.Uint64(b[48:]),
	}
	return m, native.Uint32(b[:]) == metaMagic && native.Uint32(b[4:]) == metaVersion &&
		native.Uint64(b[metaChecked:]) == sum.Sum64() &&
		m.pageSize >= pageSizeLeast && m.pageSize <= pageSizeMost && m.pageSize&(m.pageSize-1) == 0
}

// newestMeta returns the meta that counts.
func newestMeta(file io.ReaderAt) (newest meta, found bool) {
	newest, found = readMeta(file, 0)
	for size := int64(pageSizeLeast); size <= pageSizeMost; size *= 2 {
		m, valid := readMeta(file, size)
		if valid && int64(m.pageSize) == size && (!found || m.txid > newest.txid) {
			newest, found = m, true
		}
	}
	return newest, found
}

// Faults of a file.
var (
	errEmpty = errors.New("is empty: it was cut, perhaps by a full disk or a copy that was broken off")
	errAlien = errors.New("is not a data file of cim, or its head is damaged")
)

// damage is a fault of a page.
func damage(page uint64, what string) error {
	return fmt.Errorf("is damaged: page %d %s", page, what)
}

// checkHead checks what can be seen before the file is locked. A file that is
// not there is none of its faults.
func checkHead(path string) (exists bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return true, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return true, errors.New("is not a regular file")
	case info.Size() == 0:
		return true, errEmpty
	}
	file, err := os.Open(path)
	if err != nil {
		return true, err
	}
	defer file.Close()
	_, err = checkLength(file, info.Size())
	return true, err
}

// checkLength returns the meta of a file that has all pages of which it speaks.
func checkLength(file io.ReaderAt, size int64) (meta, error) {
	m, found := newestMeta(file)
	if !found {
		return m, errAlien
	}
	if want := m.pages * m.pageSize; m.pages < 3 || m.pages > 1<<40 || uint64(size) < want {
		return m, fmt.Errorf("was cut: it has %d bytes of %d", size, want)
	}
	return m, nil
}

// inspect reads the pages of an existing file that is not changed meanwhile:
// another process that has it open is found out first.
func inspect(path string) error {
	lock, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return err
	}
	return errors.Join(inspectLocked(path), lock.Close())
}

func inspectLocked(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	m, err := checkLength(file, info.Size())
	if err != nil {
		return err
	}
	_, err = inspectPages(file, m)
	return err
}

// inspectPages returns the walk, for its pages.
func inspectPages(file io.ReaderAt, m meta) (inspection, error) {
	i := inspection{file: file, meta: m, seen: make([]uint64, m.pages/64+1), left: []subtree{{root: m.root}}}
	err := i.run()
	if err == nil && m.freelist != noFreelist {
		err = i.checkFree(m.freelist)
	}
	return i, err
}

// inspection is a walk through all pages that are reached from the root.
type inspection struct {
	file io.ReaderAt
	meta meta
	seen []uint64  // a bit for each page
	left []subtree // to be read
	buf  []byte
}

// subtree is a page with all below it. Its keys are at least low and less than
// high; nil is no bound.
type subtree struct {
	root      uint64
	low, high []byte
}

func (t subtree) holds(key []byte) bool {
	return (t.low == nil || bytes.Compare(key, t.low) >= 0) && (t.high == nil || bytes.Compare(key, t.high) < 0)
}

func (i *inspection) run() error {
	for len(i.left) > 0 {
		last := len(i.left) - 1
		tree := i.left[last]
		i.left = i.left[:last]
		page, err := i.read(tree.root)
		if err != nil {
			return err
		}
		if fault := i.check(page, tree); fault != "" {
			return damage(tree.root, fault)
		}
	}
	return nil
}

// read returns page id with those that it covers. The bytes are valid until the
// next call.
func (i *inspection) read(id uint64) ([]byte, error) {
	if id < 2 || id >= i.meta.pages {
		return nil, damage(id, "is outside the file")
	}
	var head [pageHead]byte
	if _, err := i.file.ReadAt(head[:], int64(id*i.meta.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(native.Uint32(head[12:]))
	if native.Uint64(head[:]) != id || id+more >= i.meta.pages {
		return nil, damage(id, "has a wrong head")
	}
	for p := id; p <= id+more; p++ {
		if i.seen[p/64]&(1<<(p%64)) != 0 {
			return nil, damage(p, "is used twice")
		}
		i.seen[p/64] |= 1 << (p % 64)
	}
	size := (1 + more) * i.meta.pageSize
	if uint64(cap(i.buf)) < size {
		i.buf = make([]byte, size)
	}
	page := i.buf[:size]
	if _, err := i.file.ReadAt(page, int64(id*i.meta.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

// check checks a page, and notes the pages below it. It returns what is wrong.
func (i *inspection) check(page []byte, tree subtree) (fault string) {
	switch count := int(native.Uint16(page[10:])); {
	case pageHead+count*elementSize > len(page):
		return "has too many elements"
	case native.Uint16(page[8:]) == pageBranch && count > 0:
		return i.checkBranch(page, count, tree)
	case native.Uint16(page[8:]) == pageLeaf:
		return i.checkLeaf(page, count, tree)
	}
	return "is of no known kind"
}

// checkFree checks the list of free pages: cim does not store it, but a new
// file and those of bbolt's own tools have one. A count that does not fit in
// the head stands before the pages.
func (i *inspection) checkFree(id uint64) error {
	page, err := i.read(id)
	if err != nil {
		return err
	}
	count, free := uint64(native.Uint16(page[10:])), page[pageHead:]
	if count == countElsewhere {
		count, free = native.Uint64(free), free[8:]
	}
	if native.Uint16(page[8:]) != pageFree || count > uint64(len(free)/8) {
		return damage(id, "is no list of free pages")
	}
	for n := range count {
		p := native.Uint64(free[8*n:])
		if p < 2 || p >= i.meta.pages || i.seen[p/64]&(1<<(p%64)) != 0 {
			return damage(p, "is listed as free and is not")
		}
	}
	return nil
}

// checkBranch checks elements of place (4), key size (4), page (8).
func (i *inspection) checkBranch(page []byte, count int, tree subtree) (fault string) {
	var before []byte
	children := len(i.left)
	for n := range count {
		at := uint64(pageHead + n*elementSize)
		e := page[at : at+elementSize]
		key, ok := part(page, at+uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])))
		if !ok || n > 0 && bytes.Compare(before, key) >= 0 || !tree.holds(key) {
			return "has a wrong key"
		}
		before = bytes.Clone(key)
		if n > 0 {
			i.left[children+n-1].high = before
		}
		i.left = append(i.left, subtree{native.Uint64(e[8:]), before, tree.high})
	}
	return ""
}

// checkLeaf checks elements of flags (4), place (4), key size (4), value size
// (4).
func (i *inspection) checkLeaf(page []byte, count int, tree subtree) (fault string) {
	var before []byte
	for n := range count {
		at := uint64(pageHead + n*elementSize)
		e := page[at : at+elementSize]
		from, keySize := at+uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:]))
		key, ok := part(page, from, keySize)
		if !ok || n > 0 && bytes.Compare(before, key) >= 0 || !tree.holds(key) {
			return "has a wrong key"
		}
		before = key
		value, ok := part(page, from+keySize, uint64(native.Uint32(e[12:])))
		if !ok || native.Uint32(e) > isBucket {
			return "has a wrong value"
		}
		if native.Uint32(e) == isBucket {
			if fault := i.checkBucket(value); fault != "" {
				return fault
			}
		}
	}
	return ""
}

// checkBucket checks a bucket's value: it names the bucket's root page, or has
// its only page behind the head.
func (i *inspection) checkBucket(value []byte) (fault string) {
	switch {
	case len(value) < bucketHead:
		return "has a bucket without a head"
	case native.Uint64(value) != 0:
		i.left = append(i.left, subtree{root: native.Uint64(value)})
		return ""
	case len(value) < bucketHead+pageHead || native.Uint16(value[bucketHead+8:]) != pageLeaf:
		return "has a bucket without a page"
	}
	return i.check(value[bucketHead:], subtree{})
}

// part is the size bytes of page that begin at from.
func part(page []byte, from, size uint64) ([]byte, bool) {
	if from > uint64(len(page)) || size > uint64(len(page))-from {
		return nil, false
	}
	return page[from : from+size], true
}
