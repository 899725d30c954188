package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"cim/store"
)

const (
	// dialMax bounds a dial, and then the greeting: both together are less
	// than callMax.
	dialMax = 500 * time.Millisecond
	// silenceMax is how long a connection may be silent before it is asked
	// whether it lives, and as long again until it is given up. It stays below
	// callMax, so that calls on a dead connection are few.
	silenceMax = time.Second
	// ringScale lets 4,096 commands wait on a connection. More than all calls
	// of two rounds (callsMax), since those that ended at their deadline keep
	// their place until the connection is given up; past it a call would wait
	// beyond its deadline.
	ringScale = 12
	// multiplex is the logarithm of the connections to a node.
	multiplex = 1
	// cacheBytes bounds the cache of each connection.
	cacheBytes = 64 << 20
	// refreshEvery is how often the topology of a cluster or of Sentinels is
	// read again, beside the times when they say that it changed.
	refreshEvery = 5 * time.Second

	portDefault = "6379"
)

// Config says where the store is.
type Config struct {
	// URLs are redis://user:password@host:port/database, or rediss:// with
	// TLS. Several are seeds of one Redis Cluster. With ?master_set=name they
	// are Sentinels, which know the master called name; what they want to be
	// told is &sentinel_user=user&sentinel_password=password, by default nothing,
	// or what Redis is told if they want a password. The URLs differ in host and
	// port only.
	URLs []string
	// NoCache does without the client cache, which is else used where Redis
	// offers it.
	NoCache bool
	// Needs is what is used beside what the store uses itself.
	Needs Needs
	// Store has the age bound of offline messages. Its clock is for tests: nil
	// is that of the Redis, so that routes whose clocks differ agree.
	Store store.Config
	// Log takes what the background has to say. nil is slog.Default.
	Log *slog.Logger
}

// Check reports what is wrong with c, or nil. It never shows a password.
func (c Config) Check() error {
	return errors.Join(CheckURLs(c.URLs), c.Store.Check())
}

// CheckURLs reports what is wrong with the URLs of a Config, or nil. It never
// shows a password.
func CheckURLs(urls []string) error {
	_, err := options(urls)
	return err
}

// options is what urls mean.
func options(urls []string) (rueidis.ClientOption, error) {
	if len(urls) == 0 {
		return rueidis.ClientOption{}, errors.New("redis: no URL, want at least one")
	}
	first, err := parse(urls[0])
	if err != nil {
		return rueidis.ClientOption{}, fmt.Errorf("redis: URL 1: %w", err)
	}
	option := first.option()
	for i, text := range urls[1:] {
		next, err := parse(text)
		if err != nil {
			return rueidis.ClientOption{}, fmt.Errorf("redis: URL %d: %w", i+2, err)
		}
		option.InitAddress = append(option.InitAddress, next.addr)
		if next.addr = first.addr; next != first {
			return rueidis.ClientOption{}, fmt.Errorf("redis: URL %d: differs from the first in more than host and port", i+2)
		}
	}
	return option, nil
}

// target is what one URL says.
type target struct {
	addr           string
	secure         bool
	user, password string
	database       int
	masterSet      string
	sentinel       auth
}

// parse reads one URL. Its errors are made here, since those of net/url quote
// what they do not understand, which may be a password.
func parse(text string) (target, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return target{}, errors.New("not a URL; special characters of a password must be written as %XX")
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return target{}, errors.New("want redis://user:password@host:port/database, or rediss:// for TLS")
	case u.Hostname() == "":
		return target{}, errors.New("has no host")
	}
	t := target{addr: net.JoinHostPort(u.Hostname(), portDefault), secure: u.Scheme == "rediss"}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return target{}, fmt.Errorf("port %q is not one", port)
		}
		t.addr = net.JoinHostPort(u.Hostname(), port)
	}
	if u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
	}
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		if t.database, err = strconv.Atoi(database); err != nil || t.database < 0 {
			return target{}, errors.New("the database is not a number; a password with / must have it as %2F")
		}
	}
	return t.query(u)
}

// query reads what stands behind the question mark.
func (t target) query(u *url.URL) (target, error) {
	if u.Fragment != "" {
		return target{}, errors.New("has a fragment; a # of a password must be written as %23")
	}
	settings := map[string]*string{
		"master_set": &t.masterSet, "sentinel_user": &t.sentinel.user, "sentinel_password": &t.sentinel.password,
	}
	given, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, errors.New("the settings behind ? cannot be read; special characters must be written as %XX")
	}
	for name, values := range given {
		value := settings[name]
		if value == nil || len(values) != 1 || values[0] == "" {
			return target{}, errors.New("a setting is unknown, given twice or empty; there are master_set, sentinel_user and sentinel_password; a password with ? must have it as %3F")
		}
		*value = values[0]
	}
	if t.masterSet == "" && !t.sentinel.none() {
		return target{}, errors.New("sentinel_user and sentinel_password are for Sentinels: master_set is missing")
	}
	if t.sentinel.user != "" && t.sentinel.password == "" {
		return target{}, errors.New("sentinel_user has no sentinel_password")
	}
	return t, nil
}

func (t target) option() rueidis.ClientOption {
	option := rueidis.ClientOption{
		InitAddress:       []string{t.addr},
		Username:          t.user,
		Password:          t.password,
		SelectDB:          t.database,
		Dialer:            net.Dialer{Timeout: dialMax, KeepAlive: silenceMax},
		ConnWriteTimeout:  silenceMax,
		RingScaleEachConn: ringScale,
		PipelineMultiplex: multiplex,
		CacheSizeEachConn: cacheBytes,
		// Without it a call that ends at its deadline takes the connection, and
		// the cache, with it.
		AlwaysPipelining: true,
		// Repeating is done here, where it is known what may be repeated.
		DisableRetry: true,
		Sentinel: rueidis.SentinelOption{
			MasterSet: t.masterSet, Username: t.sentinel.user, Password: t.sentinel.password,
			Dialer:                  net.Dialer{Timeout: dialMax, KeepAlive: silenceMax},
			TopologyRefreshInterval: refreshEvery,
		},
		ClusterOption: rueidis.ClusterOption{ShardsRefreshInterval: refreshEvery},
	}
	if t.secure {
		option.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		option.Sentinel.TLSConfig = option.TLSConfig
	}
	return option
}
