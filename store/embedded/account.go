package embedded

import (
	"context"

	"go.etcd.io/bbolt"

	"cim/proto"
)

// Register is that of Accounts.
func (s *Store) Register(ctx context.Context, name string) (proto.User, error) {
	user, found, err := s.Find(ctx, name)
	if err != nil || found {
		return user, err
	}
	r := &registering{name: name}
	if err := s.do(ctx, r); err != nil {
		return proto.User{}, s.wrap("register", err)
	}
	return r.user, nil
}

// Find is that of Accounts.
func (s *Store) Find(ctx context.Context, name string) (user proto.User, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return proto.User{}, false, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		if id := tx.Bucket(namesBucket).Get([]byte(name)); id != nil {
			user, found = proto.User{ID: idOf(id), Name: name}, true
		}
		return nil
	})
	return user, found, s.wrap("account", err)
}

// Account is that of Accounts.
func (s *Store) Account(ctx context.Context, id proto.UserID) (string, bool, error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	if name, found := s.names.get(id); found {
		return name, true, nil
	}
	name, err := s.readName(id)
	if err != nil || name == "" {
		return "", false, s.wrap("account", err)
	}
	s.names.put(proto.User{ID: id, Name: name})
	return name, true, nil
}

// readName looks id up in the file: "" if it has no account.
func (s *Store) readName(id proto.UserID) (name string, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		name = string(tx.Bucket(accountsBucket).Get(idKey(id)))
		return nil
	})
	return name, err
}
