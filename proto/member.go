package proto

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Member is a server as the registry lists it. Its Name is the contract's:
// "ip:cimPort:httpPort".
type Member struct {
	Host     string `json:"-"` // an IPv4 address or a host name; without a colon
	CIMPort  int    `json:"-"`
	HTTPPort int    `json:"-"`
	// The following fields are stored as JSON in the server's node. A server of the
	// original has no data there: its Epoch is 0.
	Epoch   Epoch  `json:"epoch,string"`   // a string: many readers of JSON lose digits of large numbers
	Link    string `json:"link,omitempty"` // host:port of its link port; empty: links are within its process
	Version int    `json:"version"`        // of the link's protocol, LinkVersion
	// Original: the server also serves routes of the original, which read stored
	// messages in the contract's form only.
	Original bool `json:"original,omitzero"`
	// Guest names the system of a server that is not ours, for operators; "": it is
	// ours. The code that reads the registry for a route sets it, with an Epoch
	// that is valid in this process only.
	Guest string `json:"-"`
}

// LinkVersion is the version of the link's protocol: the hello and the records. A
// route links only to servers of its own version.
const LinkVersion = 2

// Name is the name of m's node, which the original's clients and routes parse.
func (m Member) Name() string {
	return m.Host + ":" + strconv.Itoa(m.CIMPort) + ":" + strconv.Itoa(m.HTTPPort)
}

// ParseMemberName parses what Name writes.
func ParseMemberName(name string) (Member, error) {
	parts := strings.Split(name, ":")
	if len(parts) != 3 {
		return Member{}, fmt.Errorf("member %q is not host:cimPort:httpPort", name)
	}
	if err := CheckHost(parts[0]); err != nil {
		return Member{}, fmt.Errorf("member %q: %w", name, err)
	}
	m := Member{Host: parts[0]}
	for i, port := range []*int{&m.CIMPort, &m.HTTPPort} {
		n, err := strconv.ParseUint(parts[i+1], 10, 16)
		if err != nil || n == 0 {
			return Member{}, fmt.Errorf("member %q: port %q is not 1 to 65535", name, parts[i+1])
		}
		*port = int(n)
	}
	return m, nil
}

// CheckHost reports why host cannot be part of a member's name. The colon separates
// the parts, so an IPv6 address cannot.
func CheckHost(host string) error {
	switch {
	case host == "":
		return fmt.Errorf("host is empty")
	case strings.ContainsAny(host, ":/ \t\r\n"):
		return fmt.Errorf("host %q has a colon, a slash or white space", host)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return fmt.Errorf("host %q is a wildcard, no client can connect to it", host)
	}
	return nil
}
