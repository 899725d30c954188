// Package store is what must be remembered: accounts, presence, offline
// messages. It has the interface in the domain's words, a store in memory for
// tests, and what every store of a single process keeps in memory: presence
// and leases. Package storetest is the conformance suite that every store
// passes; store/embedded keeps one durable file for a single process.
//
// Every method may be called by any goroutine and ends when its context does.
// A method that returns an error other than the ones named here has failed
// for the store's own reasons: whether it took effect is unknown.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
)

var (
	// ErrBoxFull refuses a message: the user's box has its bound in count or
	// bytes. Nothing of the message was kept.
	ErrBoxFull = errors.New("store: the user's box of offline messages is full")
	// ErrShareFull is an ErrBoxFull: the sender has as many texts in the box as one
	// sender may have, or as many bytes. Others' may still fit.
	ErrShareFull = fmt.Errorf("%w: this sender's share of it", ErrBoxFull)
	// ErrSuperseded refuses a claim: a newer login has claimed meanwhile.
	ErrSuperseded = errors.New("store: a newer login has claimed the user")
	// ErrAway is in the error of a call that could not reach the store, or got
	// no answer of it in time: whether it took effect is unknown.
	ErrAway = errors.New("store: cannot be reached")
)

// Store is all of it.
type Store interface {
	Accounts
	Presence
	Offline
	// Ready reports why the store cannot serve now, or nil.
	Ready(ctx context.Context) error
	// Close ends the store; what was answered before is kept.
	Close() error
}

// Accounts are the users that registered. They are never removed.
type Accounts interface {
	// Register returns the account called name, new or known; name has passed
	// proto.CheckUserName. A new id is NextUserID, unique whatever the clock
	// does. An account that was answered survives the end of the process.
	Register(ctx context.Context, name string) (proto.User, error)
	// Find returns the account called name, and makes none.
	Find(ctx context.Context, name string) (user proto.User, found bool, err error)
	// Account returns the name of id's account.
	Account(ctx context.Context, id proto.UserID) (name string, found bool, err error)
	// RefuseTokensBefore keeps that the tokens of id's account that were issued
	// before at are refused; at is more than 0. It never moves back: an earlier
	// time than the one that is kept changes nothing. It does not look whether
	// there is such an account. What it has kept survives the end of the process.
	RefuseTokensBefore(ctx context.Context, id proto.UserID, at proto.UnixMilli) error
	// TokensRefusedBefore returns the time that RefuseTokensBefore has kept; 0:
	// none. It is never taken from a cache.
	TokensRefusedBefore(ctx context.Context, id proto.UserID) (at proto.UnixMilli, err error)
}

// Place is where a user's session is: a server, and the run of it.
type Place struct {
	Host     string
	CIMPort  int
	HTTPPort int
	Epoch    proto.Epoch
}

// Record is a user's presence: one login.
type Record struct {
	Place      Place
	Generation proto.Generation
	// Connected is false while its client has not connected to what was
	// granted. It is exact where it was read Fresh; of a Cached record it may
	// be false although the client has connected.
	Connected bool
}

// Freshness says whether a lookup may be answered by a cache.
type Freshness bool

// Absence is never taken from a cache: look again past it.
const (
	Cached Freshness = false
	Fresh  Freshness = true
)

// Presence is who is where: at most one record a user.
type Presence interface {
	// Claim replaces the record of user by one for place, not connected, and
	// returns its generation, larger than any that user had. It is atomic:
	// if the present record is of a generation above seen, somebody else has
	// claimed since the caller looked, and the error is ErrSuperseded.
	Claim(ctx context.Context, user proto.UserID, place Place, seen proto.Generation) (proto.Generation, error)
	// Confirm marks the record connected if it is of this generation, and
	// reports whether it was.
	Confirm(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error)
	// Release removes the record if it is of this generation, and reports
	// whether it was. The generation outlives it: the next one is larger.
	Release(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error)
	// Restore compares sessions that live at place with the store, marks the
	// records that are theirs as connected, and gives those their record back
	// that the store has lost: there is none, and the generation was not given
	// back, or the session is newer than all that the store knows of its user.
	// Later generations are larger. Sessions of generation 0 are passed by. An
	// error says that some may not have been compared.
	Restore(ctx context.Context, place Place, sessions []proto.Session) (Restored, error)
	// Lookup returns the record of user.
	Lookup(ctx context.Context, user proto.UserID, freshness Freshness) (record Record, found bool, err error)
	// Connected returns all users whose record is marked connected, in the
	// order of their ids. The caller drops those whose epoch is dead.
	Connected(ctx context.Context) ([]Present, error)
}

// Restored is what became of the sessions that Restore was told of, but of
// those that have their records.
type Restored struct {
	// Superseded are those whose user has a record of a newer generation or
	// another place, or none and the generation was given back.
	Superseded []proto.Session
	// Returned are those that got their record back: what was sent to their user
	// before was stored.
	Returned []proto.Session
}

// Present is one connected user.
type Present struct {
	User   proto.User
	Record Record
}

// TextKey names a stored text.
type TextKey = proto.TextKey

// OfflineMessage is one stored text.
type OfflineMessage struct {
	// Serial orders the messages of one user's box, oldest first. The store
	// gives it, from 1 on; it is never reused within a box, and what comes
	// into the box later has a larger one than all that a Page has shown.
	Serial uint64
	Sender proto.User
	Text   string
	ID     proto.TextID // 0: it has none
	// Stored is when the store took it, to the millisecond. It never runs
	// backwards within a box, whatever the clock does: so what has reached the
	// age bound is always the head of the box.
	Stored time.Time
	// Sent is when it was sent, as Append was told; 0: it was not told.
	Sent proto.UnixMilli
}

// Key names the text.
func (m OfflineMessage) Key() TextKey {
	return TextKey{Sender: m.Sender.ID, ID: m.ID, Serial: m.Serial}
}

// SentAt is when the text was sent: where that was not kept, as by older
// releases and other systems, the time at which it was stored; 0: that is not
// known either.
func (m OfflineMessage) SentAt() proto.UnixMilli {
	if m.Sent != 0 || m.Stored.IsZero() {
		return m.Sent
	}
	return proto.UnixMilli(max(m.Stored.UnixMilli(), 0))
}

// Lease is the right to be a user's only catch-up. Each is a number of its
// own; 0 is none. Its ttl is not its end: from then on somebody else may take
// it, and until somebody does it is still its holder's, who may extend it or
// give it back. So a text whose sender found the lease taken always has
// somebody who looks at the box after it.
type Lease uint64

// Returned is a text that comes back from a session that has not acknowledged
// it.
type Returned struct {
	Sender proto.User
	ID     proto.TextID    // 0: it has none
	Sent   proto.UnixMilli // when it was sent; 0: that is not known
	Text   string
}

// TextsOf are texts of one sender; id is the first one's, as for Append.
func TextsOf(sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) []Returned {
	all := make([]Returned, len(texts))
	for i, text := range texts {
		all[i] = Returned{Sender: sender, ID: id.Next(i), Sent: at, Text: text}
	}
	return all
}

// Offline is the box of each user: texts that wait for its session.
//
// A text with an id is known by (sender, id): the box keeps it once, however
// often it is appended or returned. Once it was removed the box knows it no
// more.
type Offline interface {
	// Append puts texts behind what receiver's box has, all or none of them,
	// in order. id is the first one's, and the others' follow it; 0: they have
	// none. at is when they were sent; 0: that is not known. Texts that the box
	// has are not put again, and need no room. The error is ErrBoxFull if they do
	// not fit, of which ErrShareFull is one. When it returns nil they survive the end of the process. The strings are kept, even past
	// the end of ctx: they must not alias a buffer that is used again.
	Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error
	// Return puts texts that a session of user has not acknowledged behind what
	// its box has, all or none of them, in order, but for those that the box has.
	// They may go past the box's bounds, up to twice of each; the error is
	// ErrBoxFull if they go further. For the rest it is as Append.
	Return(ctx context.Context, user proto.UserID, texts []Returned) error
	// Page returns the oldest texts of user's box whose serial is larger than
	// after (0: of all), at most PageMax and PageMaxBytes of them. Texts that
	// reached the store's age bound are gone. So a catch-up reads on behind
	// what it has sent and not yet removed; what a kill comes before Remove is
	// sent again by the next one, in order: each text arrives at least once.
	Page(ctx context.Context, user proto.UserID, after uint64) ([]OfflineMessage, error)
	// Remove takes texts out of user's box: those of a key's sender and id, and
	// where the id is 0 the one of its serial. Keys that match none are no error.
	// There are at most RemoveMax keys. When it returns nil none of the texts is
	// seen again, whatever ends the process.
	Remove(ctx context.Context, user proto.UserID, keys []TextKey) error
	// Acquire takes the lease of user's catch-up for at most ttl. Lease 0:
	// somebody has it.
	Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (Lease, error)
	// Extend lets a lease last for ttl from now on, and reports false if it
	// was lost: given back, or taken by somebody else.
	Extend(ctx context.Context, user proto.UserID, lease Lease, ttl time.Duration) (bool, error)
	// ReleaseIfEmpty gives the lease back if user's box has no text behind the
	// serial after, in one atomic step, and reports whether it did. A lease that
	// was lost counts as given back.
	ReleaseIfEmpty(ctx context.Context, user proto.UserID, lease Lease, after uint64) (bool, error)
	// Abandon gives the lease back whatever the box holds.
	Abandon(ctx context.Context, user proto.UserID, lease Lease) error
}
