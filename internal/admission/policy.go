package admission

import (
	"fmt"
	"net/netip"
	"slices"
)

// Bounds and default of Policy.Share.
const (
	ShareMin     = 0.01
	ShareMax     = 1.0
	ShareDefault = 0.25
)

// Policy divides the places of a full listener among addresses. All listeners of a
// process have the same policy.
type Policy struct {
	// Share is the part of a listener's places that the unproved and idle
	// connections of one address may hold; above it they are the first to be
	// evicted. ShareMin to ShareMax. Default ShareDefault.
	Share float64
	// Trusted are the proxies: many clients come from their addresses, so the share
	// does not apply to them, and their headers about a client's address are
	// trusted. Default none.
	Trusted []netip.Prefix
	// LoopbackCounts applies the share to loopback addresses too, for tests.
	// Default false: connections from this machine belong to its owner.
	LoopbackCounts bool
}

// DefaultPolicy returns the defaults.
func DefaultPolicy() Policy { return Policy{Share: ShareDefault} }

// Check reports what is wrong with p.
func (p Policy) Check() error {
	if !(p.Share >= ShareMin && p.Share <= ShareMax) { // so that NaN is refused
		return fmt.Errorf("address-share %v is not %v to %v", p.Share, ShareMin, ShareMax)
	}
	return nil
}

// Exempt reports whether the share does not apply to addr: loopback, trusted
// proxies, and an unknown address.
func (p Policy) Exempt(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return !addr.IsValid() || addr.IsLoopback() && !p.LoopbackCounts || p.Trusts(addr)
}

// Trusts reports whether addr is a trusted proxy's.
func (p Policy) Trusts(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p.Trusted, func(proxies netip.Prefix) bool { return proxies.Contains(addr) })
}

// ShareOf is the share of places in connections, at least 1.
func (p Policy) ShareOf(places int) int { return max(1, int(p.Share*float64(places))) }

// Source is what counts as one address: an IPv4 address, or the first 64 bits of an
// IPv6 address, since a network gives each customer such a prefix.
func Source(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // 64 bits fit an IPv6 address
		return prefix.Addr()
	}
	return addr
}
