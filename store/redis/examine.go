package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// examineMax bounds how many of the URLs are tried in one examination.
const examineMax = 16

// oldestVersion is the first Redis that lets a script write after it has asked
// for the time.
const oldestVersion = 5

// features is what a Redis, or what stands in front of it, offers.
type features struct {
	hello bool   // HELLO 3: the protocol with messages that nobody asked for
	cache bool   // CLIENT TRACKING: the client cache
	lacks string // why there is no client cache; "": there is one
	drops bool   // a command that it does not know ends the connection
	scan  bool   // SCAN
	// sentinelAuth is what the Sentinels take.
	sentinelAuth auth
}

// auth is what AUTH is given.
type auth struct{ user, password string }

func (a auth) none() bool { return a == auth{} }

// command is the AUTH command of a.
func (a auth) command() []string {
	if a.user == "" {
		return []string{"AUTH", a.password}
	}
	return []string{"AUTH", a.user, a.password}
}

// examine finds out what the Redis of option offers, over connections of its
// own. Its error says in a user's words why there is none to work with.
func examine(ctx context.Context, option rueidis.ClientOption) (features, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*dialMax)
	defer cancel()
	var first error
	for i, addr := range option.InitAddress {
		if i >= examineMax || ctx.Err() != nil {
			break
		}
		f, err := examineAddr(ctx, addr, option)
		if err == nil {
			return f, nil
		}
		if first == nil || permanent(err) && !permanent(first) {
			first = err
		}
	}
	return features{}, first
}

func examineAddr(ctx context.Context, addr string, option rueidis.ClientOption) (features, error) {
	redis := endpoint{addr: addr, secure: option.TLSConfig, auth: auth{option.Username, option.Password}, database: option.SelectDB}
	if option.Sentinel.MasterSet == "" {
		return redis.examine(ctx)
	}
	sentinel, own, master, err := examineSentinel(ctx, addr, option)
	if err != nil {
		return features{}, err
	}
	redis.addr = master
	f, err := redis.examine(ctx)
	if err != nil {
		return features{}, fmt.Errorf("the Sentinel %s names %s as master: %w", addr, master, err)
	}
	// One set of options serves both.
	if !sentinel.cache && f.cache {
		f.cache, f.lacks = false, sentinel.lacks+" at the Sentinel"
	}
	f.hello, f.drops, f.sentinelAuth = f.hello && sentinel.hello, f.drops || sentinel.drops, own
	return f, nil
}

// endpoint is one process to talk to, and how.
type endpoint struct {
	addr     string
	secure   *tls.Config
	auth     auth
	database int
}

// examine asks on one connection what there is, and what may end a connection
// on another one.
func (e endpoint) examine(ctx context.Context) (features, error) {
	conn, err := e.open(ctx)
	if err != nil {
		return features{}, err
	}
	defer conn.Close()
	f, version, err := conn.greet()
	if err != nil {
		return features{}, e.fault("HELLO", err)
	}
	if f.drops {
		f.scan = e.answers(ctx, "SCAN", "0", "COUNT", "1")
		return f, nil
	}
	_, err = conn.ask("SCAN", "0", "COUNT", "1")
	f.scan = err == nil
	if version == "" {
		version = conn.version()
	}
	if number, _, _ := strings.Cut(version, "."); number != "" {
		if n, err := strconv.Atoi(number); err == nil && n < oldestVersion {
			return features{}, &explained{words: fmt.Sprintf("%s is Redis %s, which is too old: cim needs %d.0 or later", e.addr, version, oldestVersion)}
		}
	}
	return f, nil
}

// open connects, and says who we are.
func (e endpoint) open(ctx context.Context) (*rawConn, error) {
	conn, err := dialRaw(ctx, e.addr, e.secure)
	if err != nil {
		if e.secure != nil && isTimeout(err) && e.speaksPlain(ctx) {
			err = errNoTLS
		}
		return nil, e.fault("connect", err)
	}
	commands := [][]string{{"PING"}}
	if !e.auth.none() {
		commands[0] = e.auth.command()
	}
	if e.database != 0 {
		commands = append(commands, []string{"SELECT", strconv.Itoa(e.database)})
	}
	for _, command := range commands {
		_, err := conn.ask(command...)
		if command[0] == "PING" && deniedCommand(err, "ping") {
			err = nil
		}
		if err != nil {
			conn.Close()
			if broken(err) && e.secure == nil && e.speaksTLS(ctx) {
				err = errWantsTLS
			}
			return nil, e.fault(command[0], err)
		}
	}
	return conn, nil
}

// answers reports whether a command is answered, on a connection of its own.
func (e endpoint) answers(ctx context.Context, command ...string) bool {
	conn, err := e.open(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = conn.ask(command...)
	return err == nil
}

// speaksTLS reports whether the other end takes a TLS connection. It is told
// nothing.
func (e endpoint) speaksTLS(ctx context.Context) bool {
	host, _, _ := net.SplitHostPort(e.addr)
	// Only whether there is TLS is asked, so the certificate does not matter.
	conn, err := dial(ctx, e.addr, &net.Dialer{Timeout: dialMax}, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err != nil {
		// One that wants a certificate of the client has said so in TLS.
		return errors.As(err, new(tls.AlertError))
	}
	return conn.Close() == nil
}

// speaksPlain reports whether the other end answers without TLS: a Redis waits
// for more of what it cannot read.
func (e endpoint) speaksPlain(ctx context.Context) bool {
	conn, err := dialRaw(ctx, e.addr, nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = conn.ask("PING")
	return !broken(err)
}

// greet asks for the new protocol and the client cache.
func (c *rawConn) greet() (f features, version string, err error) {
	answer, err := c.ask("HELLO", "3")
	switch {
	case loading(err):
		return f, "", err
	case broken(err):
		return features{lacks: "HELLO", drops: true}, "", nil
	case err != nil:
		return features{lacks: "HELLO"}, "", nil
	}
	f.hello = true
	if fields, ok := answer.([]any); ok {
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "version" {
				version, _ = fields[i+1].(string)
			}
		}
	}
	for _, command := range [][]string{{"CLIENT", "TRACKING", "ON", "OPTIN"}, {"CLIENT", "CACHING", "YES"}} {
		if _, err := c.ask(command...); err != nil {
			f.lacks = strings.Join(command[:2], " ")
			return f, version, nil
		}
	}
	f.cache = true
	return f, version, nil
}

// version reads the version where HELLO did not tell it; "": it is not said.
func (c *rawConn) version() string {
	answer, err := c.ask("INFO", "server")
	text, _ := answer.(string)
	if err != nil {
		return ""
	}
	return infoField(text, "redis_version")
}

// infoField is a value in the answer of INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// examineSentinel returns what a Sentinel offers, what it wants to be told, and
// the address of the master. If no user or password of the Sentinels was given,
// none is tried, then those of the Redis: commonly they are the same.
func examineSentinel(ctx context.Context, addr string, option rueidis.ClientOption) (f features, own auth, master string, err error) {
	tries := []auth{{option.Sentinel.Username, option.Sentinel.Password}}
	if tries[0].none() {
		for _, more := range []auth{{option.Username, option.Password}, {"", option.Password}} {
			if more.password != "" && more != tries[len(tries)-1] {
				tries = append(tries, more)
			}
		}
	}
	for i, own := range tries {
		e := endpoint{addr: addr, secure: option.Sentinel.TLSConfig, auth: own}
		f, master, err = e.sentinel(ctx, option.Sentinel.MasterSet)
		if err == nil {
			return f, own, master, nil
		}
		if i+1 < len(tries) && !refusedAuth(err) {
			break
		}
	}
	return features{}, auth{}, "", fmt.Errorf("the Sentinel: %w", err)
}

// sentinel asks a Sentinel for the master.
func (e endpoint) sentinel(ctx context.Context, name string) (f features, master string, err error) {
	conn, err := e.open(ctx)
	if err != nil {
		return f, "", err
	}
	defer conn.Close()
	answer, err := conn.ask("SENTINEL", "get-master-addr-by-name", name)
	if err != nil {
		return f, "", e.fault("SENTINEL", err)
	}
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return f, "", &explained{words: fmt.Sprintf("%s knows no master named %q: look at master_set in the URL", e.addr, name)}
	}
	host, _ := pair[0].(string)
	port, _ := pair[1].(string)
	f, _, err = conn.greet()
	return f, net.JoinHostPort(host, port), err
}

// adjust changes option to what f offers.
func (f features) adjust(option rueidis.ClientOption) rueidis.ClientOption {
	option.Sentinel.Username, option.Sentinel.Password = f.sentinelAuth.user, f.sentinelAuth.password
	if f.cache {
		return option
	}
	option.DisableCache = true
	option.ClientSetInfo = rueidis.DisableClientSetInfo
	if f.hello {
		return option
	}
	option.AlwaysRESP2 = true
	option.DialCtxFn = dialPlain
	if f.drops && len(option.InitAddress) == 1 {
		option.ForceSingleClient = true // else it would be asked whether it is a cluster
	}
	return option
}
