package embedded

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cim/proto"
)

// The journal is a file beside the data file. It has what became of stored texts
// since the data file was last written, so that a batch costs one write and one
// sync, and a text that is removed soon never comes to the data file at all.
//
// It is a sequence of batches from its first byte on. Each has the salt that the
// data file names, and a number one more than the batch before; the first one's is
// 1. With each write of the data file the salt becomes another one, and so the
// journal empty. A batch that was not written whole has no valid checksum, and is
// where the journal ends.
//
//	salt u64 · number u64 · size of the entries u32 · CRC-32C u32 of the three and
//	the entries · entries
//
// An entry is a text that was put, kind 1 · receiver u64 · serial u64 · size u32 ·
// value as in the data file; or one that was removed, kind 2 · receiver u64 ·
// serial u64. Numbers are big endian.
const (
	journalSuffix = ".journal"

	batchHeadSize = 8 + 8 + 4 + 4
	entryHeadSize = 1 + messageKeySize
	entryPut      = 1
	entryRemove   = 2

	// journalMax bounds the file. What has no room goes into the data file, with all
	// that waits for that.
	journalMax = 2 << 20
	// journalStep is what the file grows by. It is written before it is used: a sync
	// of what has its place costs about half as much.
	journalStep = 256 << 10
	// syncPause bounds the time after which a removal is synced. It is written at
	// once, so that no end of the process brings its texts back; if the machine loses
	// power within this time, they come again.
	syncPause = 50 * time.Millisecond
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendPut(dst []byte, receiver proto.UserID, serial uint64, value []byte) []byte {
	dst = be.AppendUint64(be.AppendUint64(append(dst, entryPut), uint64(receiver)), serial)
	return append(be.AppendUint32(dst, uint32(len(value))), value...)
}

func appendRemove(dst []byte, receiver proto.UserID, serial uint64) []byte {
	return be.AppendUint64(be.AppendUint64(append(dst, entryRemove), uint64(receiver)), serial)
}

func appendBatch(dst []byte, salt, number uint64, entries []byte) []byte {
	at := len(dst)
	dst = be.AppendUint32(be.AppendUint64(be.AppendUint64(dst, salt), number), uint32(len(entries)))
	dst = be.AppendUint32(dst, checksum(dst[at:], entries))
	return append(dst, entries...)
}

func checksum(head, entries []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, entries)
}

// nextBatch takes the batch of a salt and number off the front of data; ok is
// false if there is none.
func nextBatch(data []byte, salt, number uint64) (entries, rest []byte, ok bool) {
	if len(data) < batchHeadSize || be.Uint64(data) != salt || be.Uint64(data[8:]) != number {
		return nil, nil, false
	}
	size := uint64(be.Uint32(data[16:]))
	if size > uint64(len(data)-batchHeadSize) {
		return nil, nil, false
	}
	entries, rest = data[batchHeadSize:batchHeadSize+size], data[batchHeadSize+size:]
	return entries, rest, checksum(data[:20], entries) == be.Uint32(data[20:])
}

// errEntry is of a batch that was written whole, and has what this program does
// not write.
var errEntry = errors.New("has an entry of no known kind")

// nextEntry takes one entry off the front of entries. value is nil if the text was
// removed.
func nextEntry(entries []byte) (key, value, rest []byte, err error) {
	if len(entries) < entryHeadSize {
		return nil, nil, nil, errEntry
	}
	kind, key, rest := entries[0], entries[1:entryHeadSize], entries[entryHeadSize:]
	if kind == entryRemove {
		return key, nil, rest, nil
	}
	if kind != entryPut || len(rest) < 4 || uint64(be.Uint32(rest)) > uint64(len(rest)-4) {
		return nil, nil, nil, errEntry
	}
	size := be.Uint32(rest)
	return key, rest[4 : 4+size], rest[4+size:], nil
}

// eachEntry visits all entries of the batches of salt, in order.
func eachEntry(data []byte, salt uint64, visit func(key, value []byte) error) error {
	for number := uint64(1); ; number++ {
		entries, rest, ok := nextBatch(data, salt, number)
		if !ok {
			return nil
		}
		for len(entries) > 0 {
			key, value, more, err := nextEntry(entries)
			if err == nil {
				err = visit(key, value)
			}
			if err != nil {
				return err
			}
			entries = more
		}
		data = rest
	}
}

// journal is the open file. The committer's alone.
type journal struct {
	file   journalFile
	salt   uint64
	number uint64 // of the last batch
	end    int64  // of the last batch
	room   int64  // bytes that have their place on the disk
	buffer []byte

	syncBy time.Time // when removals that were written must be synced; zero: none wait for that
	broken bool      // a write or a sync has failed: what the file has is not known
}

// journalFile is the part of *os.File that the journal needs.
type journalFile interface {
	io.WriterAt
	io.Closer
	// SyncData returns when all that was written is on the disk.
	SyncData() error
}

type diskFile struct{ *os.File }

// SyncData implements journalFile.
func (f diskFile) SyncData() error { return syncData(f.File) }

// readJournal returns what the file at path has.
func readJournal(path string) (data []byte, exists bool, err error) {
	data, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return data, true, err
}

// open opens the file at path to be written, or makes it.
func (j *journal) open(path string, exists bool) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	j.file = diskFile{file}
	if exists {
		return nil
	}
	return syncFolder(filepath.Dir(path))
}

// fits reports whether there is room for a batch of entries.
func (j *journal) fits(entries []byte) bool {
	return j.end+batchHeadSize+int64(len(entries)) <= journalMax
}

// write writes a batch, which fits. synced says that it must be on the disk when
// write returns. After an error restart is called before the next write.
func (j *journal) write(entries []byte, synced bool) error {
	j.buffer = appendBatch(j.buffer[:0], j.salt, j.number+1, entries)
	end := j.end + int64(len(j.buffer))
	j.broken = true
	if err := j.makeRoom(end); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(j.buffer, j.end); err != nil {
		return err
	}
	if now := time.Now(); synced || !j.syncBy.IsZero() && now.After(j.syncBy) {
		if err := j.sync(); err != nil {
			return err
		}
	} else if j.syncBy.IsZero() {
		j.syncBy = now.Add(syncPause)
	}
	j.number, j.end, j.broken = j.number+1, end, false
	return nil
}

// makeRoom gives all bytes up to end their place on the disk.
func (j *journal) makeRoom(end int64) error {
	for j.room < end {
		if _, err := j.file.WriteAt(make([]byte, journalStep), j.room); err != nil {
			return err
		}
		j.room += journalStep
	}
	return nil
}

// sync has all that was written on the disk.
func (j *journal) sync() error {
	if err := j.file.SyncData(); err != nil {
		j.broken = true
		return err
	}
	j.syncBy = time.Time{}
	return nil
}

// restart empties the journal: the data file has all of it, and names salt.
func (j *journal) restart(salt uint64) {
	j.salt, j.number, j.end, j.syncBy, j.broken = salt, 0, 0, time.Time{}, false
}

// errNoJournal is why a data file that was not closed is refused.
func errNoJournal(path string) error {
	return fmt.Errorf("its process was killed, and %s, which has its last messages, is not there: put it back, or make an empty file of that name to go on without them", path)
}
