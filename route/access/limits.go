package access

import (
	"fmt"
	"net/netip"
	"time"

	"cim/internal/admission"
	"cim/internal/limit"
	"cim/proto"
)

const (
	// checksPerSecond and checksBurst are how many Ed25519 signatures of one
	// address are checked: at 85 µs each, 2 % of a core.
	checksPerSecond limit.Rate = 200
	checksBurst     int        = 400
	// bucketsMax bounds the buckets of each table, some 5 MB.
	bucketsMax int = 32_768
)

// kind is what a bucket counts.
type kind uint8

const (
	signatures kind = iota // of an address, that are checked
	registrations
	logins
	userLogins
	messages
	userMessages
	groupMessages
	groupBytes
)

// names are the settings of the kinds that have one, and how they are named in
// metrics; things say what they bound.
var (
	names = [...]string{
		registrations: "registrations", logins: "logins", userLogins: "user-logins", messages: "messages",
		userMessages: "user-messages", groupMessages: "group-messages", groupBytes: "group-bytes",
	}
	things = [...]string{
		registrations: "registrations from this address", logins: "logins from this address", userLogins: "logins of this user",
		messages: "messages from this address", userMessages: "messages of this sender",
		groupMessages: "group messages of this sender", groupBytes: "bytes of this sender's group messages",
	}
)

// bucketKey names a bucket: of an address, of a user, or of an address that names a user without
// proof. So no client can use up another client's bucket.
type bucketKey struct {
	kind kind
	user proto.UserID
	from netip.Addr
}

// ofAddress reports whether a bucket belongs to an address, also if it names a user.
func (k kind) ofAddress() bool {
	return k == signatures || k == registrations || k == logins || k == messages
}

// buckets are in tables of their own for what a stranger can make more of: names
// of users cost nothing, addresses little, tokens are not to be had. So a flood of
// names has no bucket of an address or of a proved user forgotten.
type buckets struct {
	addresses, named, proved *limit.Table[bucketKey]
}

func newBuckets() buckets {
	return buckets{
		addresses: limit.NewTable[bucketKey](bucketsMax), named: limit.NewTable[bucketKey](bucketsMax), proved: limit.NewTable[bucketKey](bucketsMax),
	}
}

// of is the table of a bucket.
func (b buckets) of(key bucketKey) *limit.Table[bucketKey] {
	switch {
	case key.kind.ofAddress():
		return b.addresses
	case key.from.IsValid():
		return b.named
	}
	return b.proved
}

// Limited is why a request is refused that came too soon after others.
type Limited struct {
	What string // the setting without "limit-", for metrics
	Text string // for the caller
}

// Spend counts a call in the name of subject, with that many texts and bytes, and returns the limit
// that the call exceeds; nil: none. A backend, which shows a service token, is limited in its group
// messages only. A caller that shows a user's token is limited as that user from any address; other
// callers are limited by address too. The zero Caller has no limits.
func (c Caller) Spend(call Call, subject proto.UserID, texts, size int, now time.Time) *Limited {
	if c.gate == nil {
		return nil
	}
	for _, b := range c.bounds(call, subject, texts, size) {
		if !c.gate.buckets.of(b.key).Take(b.key, b.rate, b.burst, min(b.n, b.burst), now) {
			what := b.key.kind
			return &Limited{names[what], fmt.Sprintf("too many %s: more than %d a second, try again later (limit-%s)", things[what], b.rate, names[what])}
		}
	}
	return nil
}

// bound is one bucket that a call takes n from. It takes at most the whole bucket, so that a batch
// of any size passes in time.
type bound struct {
	key      bucketKey
	rate     limit.Rate
	burst, n int
}

// bounds are the buckets that a call takes from, in this order.
func (c Caller) bounds(call Call, subject proto.UserID, texts, size int) (list []bound) {
	limits, from := c.gate.config.Limits.For(c.from), admission.Source(c.from)
	user := bucketKey{user: subject, from: from}
	if c.Is(subject) {
		user.from = netip.Addr{}
	}
	add := func(key bucketKey, what kind, rate limit.Rate, burst, n int) {
		if rate != limit.None {
			key.kind = what
			list = append(list, bound{key, rate, burst, n})
		}
	}
	of := func(byAddress kind, address limit.Rate, byUser kind, perUser limit.Rate) {
		if !c.identified {
			add(bucketKey{from: from}, byAddress, address, address.Burst(), texts)
		}
		if !c.service {
			add(user, byUser, perUser, perUser.Burst(), texts)
		}
	}
	switch call {
	case Register:
		if !c.service {
			add(bucketKey{from: from}, registrations, limits.Registrations, limits.Registrations.Burst(), 1)
		}
	case Login:
		of(logins, limits.Logins, userLogins, limits.UserLogins)
	case Private:
		of(messages, limits.Messages, userMessages, limits.UserMessages)
	case Group:
		of(messages, limits.Messages, userMessages, limits.UserMessages)
		add(user, groupMessages, limits.GroupMessages, limits.GroupMessages.Burst(), texts)
		add(user, groupBytes, limits.GroupBytes, limits.GroupBytes.BytesBurst(), size)
	}
	return list
}

// payCheck takes one check of a signature from the bucket of an address, and
// reports whether there was one left.
func (g *Gate) payCheck(from netip.Addr, now time.Time) bool {
	key := bucketKey{kind: signatures, from: admission.Source(from)}
	return g.buckets.of(key).Take(key, checksPerSecond, checksBurst, 1, now)
}
