package route

import (
	"context"
	"errors"
	"fmt"

	"cim/proto"
	"cim/store"
)

// register returns the account of a name, and creates one if there is none. Any spelling of the
// name finds an existing account; a new one gets its name in NFC.
func (r *Route) register(ctx context.Context, request *proto.RegisterRequest) answer {
	spellings, err := proto.NameSpellings(request.UserName)
	if err != nil {
		return invalid(err)
	}
	name := proto.NormalName(request.UserName)
	newName := proto.CheckNewName(name)
	if request.Find != 0 || len(spellings) > 1 || newName != nil {
		user, found, err := r.findAccount(ctx, spellings)
		switch {
		case err != nil:
			return r.storeFailed("find an account", err)
		case found:
			return r.accountAnswer(user)
		case request.Find != 0:
			return answer{code: proto.CodeAccountMismatch, message: "no account has this userName"}
		case newName != nil:
			return invalid(newName)
		}
	}
	user, err := r.store.Register(ctx, name)
	if err != nil {
		return r.storeFailed("register", err)
	}
	return r.accountAnswer(user)
}

// findAccount returns the account that has the first of these spellings that
// any account has, and makes none.
func (r *Route) findAccount(ctx context.Context, spellings []string) (user proto.User, found bool, err error) {
	for _, name := range spellings {
		if user, found, err = r.store.Find(ctx, name); err != nil || found {
			break
		}
	}
	return user, found, err
}

func (r *Route) accountAnswer(user proto.User) answer {
	r.caches.names.put(user.ID, user.Name)
	return answer{code: proto.CodeSuccess, body: proto.Body(proto.UserBody{UserID: user.ID, UserName: user.Name})}
}

// readUser reads the id of an account from a request.
func readUser(member string, n proto.Number) (proto.UserID, error) {
	if n <= 0 {
		return 0, fmt.Errorf("%s is missing or not positive", member)
	}
	return proto.UserID(n), nil
}

// accountOf looks up the account that the field member of a request names. The answer is an error
// if there is no such account.
func (r *Route) accountOf(ctx context.Context, member string, id proto.UserID) (proto.User, *answer) {
	name, found, err := r.account(ctx, id)
	if err != nil {
		failed := r.storeFailed("look up an account", err)
		return proto.User{}, &failed
	}
	if !found {
		return proto.User{}, &answer{
			code: proto.CodeAccountMismatch, message: fmt.Sprintf("%s %d is no account", member, id),
		}
	}
	return proto.User{ID: id, Name: name}, nil
}

// storeAway reports whether err says that the store cannot be reached, or not in
// time.
func storeAway(err error) bool {
	return errors.Is(err, store.ErrAway) || errors.Is(err, context.DeadlineExceeded)
}

// storeFailed is the answer to a request after a failed call of the store.
func (r *Route) storeFailed(doing string, err error) answer {
	r.storeFault(doing, err)
	message := "the store failed, try again later"
	if storeAway(err) {
		message = "the store cannot be reached, try again later"
	}
	return answer{code: proto.CodeFailure, message: message}
}

// storeFault counts and logs a failed call of the store.
func (r *Route) storeFault(doing string, err error) {
	kind := "failed"
	if storeAway(err) {
		kind = "away"
		r.outage.noteFailure()
	}
	r.counters.storeFaults.inc(kind)
	r.notices.Say("store failed", "doing", doing, "error", err)
}
