// Package limit bounds how often one user or one address may do a thing.
//
// It has the settings, which routes and servers share, and a table of token
// buckets whose size is bounded. A bucket holds what BurstSeconds seconds bring,
// so that one who comes back after an outage is not refused at once.
package limit

import (
	"errors"
	"fmt"
	"net/netip"
)

// Rate is how often a second something may be done.
type Rate int

// The rates that are no number of times.
const (
	// Auto is the default of its setting for clients of other machines, and no
	// limit for those of this one: benchmarks and tests of loopback are not
	// hindered, and what comes from this machine is its owner's.
	Auto Rate = -1
	// None is no limit.
	None Rate = 0
)

const (
	// RateMax bounds each rate.
	RateMax Rate = 1 << 30
	// BurstSeconds is how many seconds of its rate a bucket holds.
	BurstSeconds = 10
	// MessageBytesMax is what a bucket of bytes holds at least: the longest
	// request there is, so that each message passes in time.
	MessageBytesMax = 64 << 10
)

// What each setting is for clients of other machines if it is Auto.
const (
	// AutoRegistrations lets a class of 200 register at once.
	AutoRegistrations Rate = 20
	// AutoLogins lets the 1,000 people behind one address come back at once after
	// an outage.
	AutoLogins Rate = 100
	// AutoUserLogins is more than a client that loses its connection over and over
	// does: ours waits longer between two tries from the third on.
	AutoUserLogins Rate = 2
	// AutoMessages is what an address without tokens may send: 50 people who
	// write as much as they can, or a backend.
	AutoMessages Rate = 1_000
	// AutoUserMessages is more than people write, and what a bot may send.
	AutoUserMessages Rate = 100
	// AutoGroupMessages and AutoGroupBytes leave a receiver on a line of 8 Mbit/s
	// most of it.
	AutoGroupMessages Rate = 20
	AutoGroupBytes    Rate = 128 << 10
)

// Config is how often what may be done. Each is Auto, None or a number up to
// RateMax; a number holds for clients of this machine too. The defaults are
// Auto.
type Config struct {
	Registrations Rate // requests to register, of one address
	Logins        Rate // of one address, without a token
	UserLogins    Rate // of one user
	Messages      Rate // over HTTP, of one address, without a token
	UserMessages  Rate // of one sender: over HTTP, and over each connection
	GroupMessages Rate // to everybody, of one sender: over HTTP, and over each connection
	GroupBytes    Rate // the same, in bytes
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Registrations: Auto, Logins: Auto, UserLogins: Auto, Messages: Auto, UserMessages: Auto, GroupMessages: Auto, GroupBytes: Auto,
	}
}

// Check reports all that is wrong with c.
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

// Burst is how many a bucket of this rate holds.
func (r Rate) Burst() int { return int(r) * BurstSeconds }

// BytesBurst is the same of a bucket of bytes.
func (r Rate) BytesBurst() int { return max(r.Burst(), MessageBytesMax) }
