package embedded

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"go.etcd.io/bbolt"

	"cim/proto"
)

// pendingMax bounds the changes of texts that the data file lacks: they are in
// memory, and written together, which holds up the batches behind them.
const pendingMax = 2048

// newSalt is one that no batch in the journal has. It is not 0.
func newSalt() uint64 { return max(rand.Uint64(), 1) }

// commitFile commits b, and all that the data file lacks, to the data file. So
// the journal is empty.
func (s *Store) commitFile(b *batch) error {
	err := b.openToWrite()
	if err != nil {
		return s.settle(b, err)
	}
	pending := s.boxes.withPending()
	for user, box := range b.boxes {
		if pending[user] = box; box.pending() == 0 {
			delete(pending, user)
		}
	}
	salt := newSalt()
	if err = writePending(b.tx, pending, b.lastSerial); err == nil {
		err = writeSalt(b.tx, salt)
	}
	if err != nil {
		return s.settle(b, errors.Join(err, b.end()))
	}
	if err := b.tx.Commit(); err != nil {
		return s.settle(b, err)
	}
	s.journal.restart(salt)
	for user, box := range pending {
		box.texts, box.gone = nil, nil
		b.boxes[user] = box
	}
	return s.settle(b, nil)
}

// writePending writes what the file lacks of boxes.
func writePending(tx *bbolt.Tx, boxes map[proto.UserID]box, lastSerial uint64) error {
	offline := tx.Bucket(offlineBucket)
	for _, user := range slices.Sorted(maps.Keys(boxes)) {
		box := boxes[user]
		for _, serial := range box.gone {
			if err := offline.Delete(messageKey(user, serial)); err != nil {
				return fmt.Errorf("message %d: %w", serial, err)
			}
		}
		for _, text := range box.texts {
			if err := offline.Put(messageKey(user, text.serial), text.value); err != nil {
				return fmt.Errorf("message %d: %w", text.serial, err)
			}
		}
	}
	return writeSerial(offline, lastSerial)
}

func writeSerial(offline *bbolt.Bucket, last uint64) error {
	if err := offline.SetSequence(last); err != nil {
		return fmt.Errorf("last serial: %w", err)
	}
	return nil
}

// writeSalt names the batches of the journal that are not in the file yet; 0:
// there is no journal, and programs of before may read the file.
func writeSalt(tx *bbolt.Tx, salt uint64) error {
	format, version := tx.Bucket(formatBucket), uint32(formatVersion)
	err := format.Put(journalKey, be.AppendUint64(nil, salt))
	if salt == 0 {
		version, err = formatVersionClosed, format.Delete(journalKey)
	}
	if err == nil {
		err = format.Put(versionKey, be.AppendUint32(nil, version))
	}
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	return nil
}

// readSalt is what writeSalt wrote.
func readSalt(tx *bbolt.Tx) (uint64, error) {
	switch value := tx.Bucket(formatBucket).Get(journalKey); len(value) {
	case 0:
		return 0, nil
	case 8:
		return be.Uint64(value), nil
	default:
		return 0, fmt.Errorf("damaged: salt of %d bytes", len(value))
	}
}

// replay writes the batches of data, a journal, that the file names to the file.
func replay(tx *bbolt.Tx, salt uint64, data []byte) error {
	offline := tx.Bucket(offlineBucket)
	last := offline.Sequence()
	err := eachEntry(data, salt, func(key, value []byte) error {
		if value == nil {
			return offline.Delete(key)
		}
		_, serial := messageKeyOf(key)
		last = max(last, serial)
		return offline.Put(key, value)
	})
	if err != nil {
		return err
	}
	return writeSerial(offline, last)
}

// closeFile writes all that the data file lacks, so that it is whole without the
// journal. The committer has ended.
func (s *Store) closeFile() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		if err := writePending(tx, s.boxes.withPending(), s.lastSerial); err != nil {
			return err
		}
		return writeSalt(tx, 0)
	})
}
