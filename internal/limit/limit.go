// Package limit bounds how often one user or one address may do a thing.
//
// It has the settings, which routes and servers share, and a table of token buckets
// whose size is bounded. A bucket holds the tokens of BurstSeconds seconds, so that
// a client that comes back after an outage is not refused at once.
package limit

import (
	"errors"
	"fmt"
	"net/netip"
)

// Rate is how often a second something may be done.
type Rate int

// Special rates.
const (
	// Auto is the default of the setting for clients of other machines, and no
	// limit for those of this machine: benchmarks and tests on loopback are not
	// slowed down, and connections from this machine belong to its owner.
	Auto Rate = -1
	// None is no limit.
	None Rate = 0
)

const (
	// RateMax bounds each rate.
	RateMax Rate = 1 << 30
	// BurstSeconds is how many seconds of its rate a bucket holds.
	BurstSeconds = 10
	// MessageBytesMax is the least capacity of a bucket of bytes: the longest
	// possible request, so that each message can pass in time.
	MessageBytesMax = 64 << 10
)

// The value of each setting for clients of other machines if it is Auto.
const (
	// AutoRegistrations lets a class of 200 register at once.
	AutoRegistrations Rate = 20
	// AutoLogins lets the 1,000 people behind one address come back at once after
	// an outage.
	AutoLogins Rate = 100
	// AutoUserLogins is more than a client needs that loses its connection again
	// and again: ours waits longer between two tries from the third on.
	AutoUserLogins Rate = 2
	// AutoMessages is for an address without tokens: 50 people who write as much as
	// they can, or a backend.
	AutoMessages Rate = 1_000
	// AutoUserMessages is more than people write, and enough for a bot.
	AutoUserMessages Rate = 100
	// AutoGroupMessages and AutoGroupBytes leave a receiver with 8 Mbit/s most of
	// its bandwidth.
	AutoGroupMessages Rate = 20
	AutoGroupBytes    Rate = 128 << 10
)

// Config is the limits. Each is Auto, None or a number up to RateMax; a number
// applies to clients of this machine too. The defaults are Auto.
type Config struct {
	Registrations Rate // requests to register, of one address
	Logins        Rate // of one address, without a token
	UserLogins    Rate // of one user
	Messages      Rate // over HTTP, of one address, without a token
	UserMessages  Rate // of one sender: over HTTP, and over each connection
	GroupMessages Rate // group messages of one sender: over HTTP, and over each connection
	GroupBytes    Rate // the same, in bytes
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Registrations: Auto, Logins: Auto, UserLogins: Auto, Messages: Auto, UserMessages: Auto, GroupMessages: Auto, GroupBytes: Auto,
	}
}

// Check reports all faults of c.
func (c Config) Check() error {
	var faults []error
	for _, r := range []struct {
		name string
		rate Rate
	}{
		{"limit-registrations", c.Registrations},
		{"limit-logins", c.Logins},
		{"limit-user-logins", c.UserLogins},
		{"limit-messages", c.Messages},
		{"limit-user-messages", c.UserMessages},
		{"limit-group-messages", c.GroupMessages},
		{"limit-group-bytes", c.GroupBytes},
	} {
		if r.rate < Auto || r.rate > RateMax {
			faults = append(faults, fmt.Errorf("%s %d, want 0 to %d, or %d for auto", r.name, r.rate, RateMax, Auto))
		}
	}
	return errors.Join(faults...)
}

// For returns the limits of a client at from, none of them Auto.
func (c Config) For(from netip.Addr) Config {
	local := from.Unmap().IsLoopback()
	settle := func(rate *Rate, auto Rate) {
		if *rate == Auto {
			*rate = auto
			if local {
				*rate = None
			}
		}
	}
	settle(&c.Registrations, AutoRegistrations)
	settle(&c.Logins, AutoLogins)
	settle(&c.UserLogins, AutoUserLogins)
	settle(&c.Messages, AutoMessages)
	settle(&c.UserMessages, AutoUserMessages)
	settle(&c.GroupMessages, AutoGroupMessages)
	settle(&c.GroupBytes, AutoGroupBytes)
	return c
}

// Burst is the capacity of a bucket of this rate.
func (r Rate) Burst() int { return int(r) * BurstSeconds }

// BytesBurst is the capacity of a bucket of bytes.
func (r Rate) BytesBurst() int { return max(r.Burst(), MessageBytesMax) }
