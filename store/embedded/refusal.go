package embedded

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"cim/proto"
)

// refusedSize is the size of a value of the refused bucket.
const refusedSize = 8

// refusing keeps from when on a user's tokens must be.
type refusing struct {
	user proto.UserID
	at   proto.UnixMilli
}

func (*refusing) isOfFile() bool { return true }

func (r *refusing) apply(b *batch) error {
	kept, err := refusedOf(b.accounts.refused.Get(idKey(r.user)))
	if err != nil || kept >= r.at {
		return err
	}
	b.wroteFile = true
	if err := b.accounts.refused.Put(idKey(r.user), be.AppendUint64(nil, uint64(r.at))); err != nil {
		return fmt.Errorf("refused tokens of account %d: %w", r.user, err)
	}
	return nil
}

// refusedOf reads a value of the refused bucket; nil is none.
func refusedOf(value []byte) (proto.UnixMilli, error) {
	switch len(value) {
	case 0:
		return 0, nil
	case refusedSize:
		return proto.UnixMilli(be.Uint64(value)), nil
	}
	return 0, fmt.Errorf("damaged: time of refused tokens of %d bytes", len(value))
}

// RefuseTokensBefore is that of Accounts.
func (s *Store) RefuseTokensBefore(ctx context.Context, id proto.UserID, at proto.UnixMilli) error {
	return s.wrap("refuse tokens", s.do(ctx, &refusing{user: id, at: at}))
}

// TokensRefusedBefore is that of Accounts.
func (s *Store) TokensRefusedBefore(ctx context.Context, id proto.UserID) (at proto.UnixMilli, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	err = s.view(func(tx *bbolt.Tx) (err error) {
		at, err = refusedOf(tx.Bucket(refusedBucket).Get(idKey(id)))
		return err
	})
	return at, s.wrap("refused tokens", err)
}
