package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// bindResolveMax bounds the search for the address of a host name to listen on.
const bindResolveMax = 2 * time.Second

// loopback is what all ports listen on by default.
const loopback = "127.0.0.1"

// bindHelp says what an address to listen on may be.
const bindHelp = "an IP address or a host name of this machine; 0.0.0.0 is all of IPv4, :: all of both"

func defineBind(flags *pflag.FlagSet, target *string) {
	flags.Var(bindAddress{target}, "bind", "address to listen on, but for the admin port and /sendMsg, which have settings of their own: "+bindHelp)
}

// bindAddress is an address to listen on, without a port.
type bindAddress struct{ target *string }

func (a bindAddress) String() string { return *a.target }
func (a bindAddress) Type() string   { return "address" }

func (a bindAddress) Set(text string) error {
	bare := text
	if inner, ok := strings.CutPrefix(text, "["); ok {
		bare = strings.TrimSuffix(inner, "]") // as in a URL
	}
	switch parsed, err := netip.ParseAddr(bare); {
	case err == nil && parsed.Zone() == "":
		bare = parsed.Unmap().String()
	case err == nil:
		return errors.New("want an address without a zone")
	case bare == "" || strings.ContainsAny(bare, ":/*%[] \t\r\n"):
		return errors.New("want an IP address or a host name, without a port; 0.0.0.0 is all of IPv4, :: all of both")
	}
	*a.target = bare
	return nil
}

// bindHost is the IP address of a setting with an address to listen on. Of a name's addresses it
// takes an IPv4 address if there is one. After an error it is loopback, which passes every check.
func bindHost(setting, address string) (string, error) {
	if _, err := netip.ParseAddr(address); err == nil {
		return address, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), bindResolveMax)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address)
	if lookup := (*net.DNSError)(nil); errors.As(err, &lookup) {
		err = errors.New(lookup.Err)
	}
	if err != nil || len(found) == 0 {
		return loopback, fmt.Errorf("%s %q has no address: %w", setting, address, err)
	}
	for _, one := range found {
		if one = one.Unmap(); one.Is4() {
			return one.String(), nil
		}
	}
	return found[0].WithZone("").String(), nil
}

// adminConfig is where the admin port listens.
type adminConfig struct {
	bind string // as it was written
	port int
	host string // IP address of bind, after check
}

func (c *adminConfig) define(flags *pflag.FlagSet) {
	numberVar(flags, &c.port, "admin-port", 0, portMax, "port of health, metrics and profiles; 0 takes a free one")
	flags.Var(bindAddress{&c.bind}, "admin-bind", "address that the admin port listens on, whatever --bind says; a probe from elsewhere needs another than 127.0.0.1")
}

func (c *adminConfig) check() (err error) {
	c.host, err = bindHost("admin-bind", c.bind)
	return err
}
