package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"cim/store"
)

const (
	// lookEvery is between two looks at the Redis, lookLeast the least time
	// between them when a call asks for one.
	lookEvery = time.Second
	lookLeast = 200 * time.Millisecond
	// rightsEvery is between two looks at the rights while none is missing,
	// policyEvery at the eviction policy.
	rightsEvery = 3 * time.Second
	policyEvery = time.Minute
)

// health is what the last looks at the Redis have found.
type health struct {
	poke   chan struct{} // of 1: a call was refused
	denied atomic.Bool   // one was, for a right that is missing

	mu     sync.Mutex
	why    error // why it cannot be used, in a user's words; nil: it can
	rights error // the rights that are missing

	// Of the watcher only.
	features  features
	said      string // what was logged last
	mode      string // what was logged of the client cache
	policy    string // of which was warned
	rightsDue time.Time
	policyDue time.Time
}

// state is why the Redis cannot be used, as of the last look.
func (h *health) state() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.why, h.rights)
}

// lookNow has the watcher look soon.
func (h *health) lookNow() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// heed has the watcher look soon at why a call was refused.
func (h *health) heed(err error) {
	denied := notAllowed(err)
	if denied {
		h.denied.Store(true)
	}
	if denied || refused(err) {
		h.lookNow()
	}
}

// watch makes the first connection, and looks at the Redis until ctx ends.
func (s *Store) watch(ctx context.Context) {
	for {
		s.note(ctx, s.look(ctx))
		if !sleep(ctx, lookLeast) {
			return
		}
		select {
		case <-s.health.poke:
		case <-time.After(jitter(lookEvery)):
		case <-ctx.Done():
			return
		}
	}
}

// look finds out whether the Redis can be used, and connects anew if that
// helps.
func (s *Store) look(ctx context.Context) error {
	err := errNotYet
	if s.client.Load() != nil {
		err = s.probe(ctx)
	}
	if err != nil && ctx.Err() == nil && redialHelps(err) {
		err = s.redial(ctx)
	}
	if client := s.client.Load(); err == nil && client != nil {
		s.lookCloser(ctx, *client)
	}
	return err
}

// probe writes the probe key.
func (s *Store) probe(ctx context.Context) error {
	own, cancel := context.WithTimeout(ctx, probeMax)
	defer cancel()
	return s.attempt(own, probe)
}

// redialHelps reports whether new connections may bring what the present ones
// do not: behind a stable address another process may answer by now, and a
// connection to a replica stays one.
func redialHelps(err error) bool {
	code := codeOf(err)
	return code == "" || strings.HasPrefix(code, "READONLY") || strings.HasPrefix(code, "MASTERDOWN")
}

// redial makes a client anew, and takes it in the place of the present one if
// the Redis takes writes over it. Its error is in a user's words.
func (s *Store) redial(ctx context.Context) error {
	client, err := s.newClient(ctx)
	if err != nil {
		return err
	}
	own, cancel := context.WithTimeout(ctx, probeMax)
	err = probe(own, client)
	cancel()
	if err != nil && s.client.Load() != nil {
		client.Close()
		return s.where("SET", err)
	}
	s.replace(ctx, client)
	if err != nil {
		return s.where("SET", err)
	}
	return nil
}

// replace takes client in the place of the present one, which ends when no call
// uses it any more.
func (s *Store) replace(ctx context.Context, client rueidis.Client) {
	old := s.client.Swap(&client)
	s.health.rightsDue, s.health.policyDue = time.Time{}, time.Time{}
	if old == nil {
		return
	}
	s.config.Log.Info("redis: connected anew", "redis", s.option.InitAddress)
	s.done.Go(func() {
		sleep(ctx, callMax)
		(*old).Close()
	})
}

// newClient examines what there is and makes a client for it, which makes its
// connections by itself from then on.
func (s *Store) newClient(ctx context.Context) (rueidis.Client, error) {
	f, err := examine(ctx, s.option)
	if err != nil {
		return nil, err
	}
	if s.config.NoCache {
		f.cache, f.lacks = false, ""
	}
	client, err := rueidis.NewClient(f.adjust(s.option))
	if err != nil {
		return nil, s.where("connect", err)
	}
	s.health.features = f
	s.scans.Store(f.scan)
	s.noteMode(f)
	return client, nil
}

// noteMode logs once that there is no client cache, and when there is one again.
func (s *Store) noteMode(f features) {
	if f.lacks == s.health.mode {
		return
	}
	s.health.mode = f.lacks
	if f.lacks != "" {
		s.config.Log.Warn("redis: works without the client cache, so slower: Redis before 6, a proxy, or a user without the right",
			"lacks", f.lacks, "redis", s.option.InitAddress)
		return
	}
	s.config.Log.Info("redis: works with the client cache again", "redis", s.option.InitAddress)
}

// where says where a fault of command is.
func (s *Store) where(command string, err error) error {
	addr := strings.Join(s.option.InitAddress, ", ")
	var connection *net.OpError
	if errors.As(err, &connection) && connection.Addr != nil {
		addr = connection.Addr.String() // a node of a Redis Cluster, or the master
	}
	return endpoint{addr: addr}.fault(command, err)
}

// lookCloser looks at rights and eviction policy, if it is time.
func (s *Store) lookCloser(ctx context.Context, client rueidis.Client) {
	own, cancel := context.WithTimeout(ctx, probeMax)
	defer cancel()
	h := &s.health
	now := time.Now()
	if h.features.drops {
		return // a command that the proxy does not know would end the connection of all
	}
	if h.denied.Swap(false) || h.lacksRights() || !now.Before(h.rightsDue) {
		rights := s.checkRights(own, client)
		if errors.As(rights, new(*lackingError)) || rights == nil {
			h.rightsDue = now.Add(rightsEvery)
			h.mu.Lock()
			h.rights = rights
			h.mu.Unlock()
		}
	}
	if !now.Before(h.policyDue) {
		h.policyDue = now.Add(policyEvery)
		s.warnOf(strings.Join(policies(own, client), ","))
	}
}

func (h *health) lacksRights() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rights != nil
}

// warnOf logs once what an eviction policy may do.
func (s *Store) warnOf(policy string) {
	if policy == s.health.policy {
		return
	}
	s.health.policy = policy
	for _, one := range strings.Split(policy, ",") {
		if warning := evictionWarning(one); warning != "" {
			s.config.Log.Warn("redis: "+warning, "maxmemory-policy", one, "redis", s.option.InitAddress)
		}
	}
}

// note keeps what a look has found, and logs what has changed.
func (s *Store) note(ctx context.Context, err error) {
	h := &s.health
	if ctx.Err() != nil {
		return // what failed did so for that
	}
	if err != nil && !errors.As(err, new(*explained)) {
		err = s.where("SET", err)
	}
	h.mu.Lock()
	h.why = err
	found := errors.Join(h.why, h.rights)
	h.mu.Unlock()
	words := ""
	if found != nil {
		words = found.Error()
	}
	switch {
	case words == h.said:
	case words == "":
		s.config.Log.Info("redis: can be used again", "redis", s.option.InitAddress)
	default:
		s.config.Log.Warn("redis: cannot be used", "why", words)
	}
	h.said = words
}

// Ready is that of Store: whether Redis takes a write now, and lets our user do
// all that is needed.
func (s *Store) Ready(ctx context.Context) error {
	own, cancel := bound(ctx)
	defer cancel()
	err := s.attempt(own, probe)
	if err == nil {
		s.health.mu.Lock()
		defer s.health.mu.Unlock()
		if rights := s.health.rights; rights != nil {
			return fmt.Errorf("redis: %s: %w", strings.Join(s.option.InitAddress, ", "), rights)
		}
		return nil
	}
	s.health.lookNow()
	named := s.where("SET", err)
	if last := s.health.state(); away(err) && last != nil {
		named = last // has looked at why there is no connection
	} else if closed(err) {
		if _, why := examine(own, s.option); why != nil {
			named = why // the library has not kept what was said before the end
		}
	}
	cause := err
	if refused(err) || away(err) {
		cause = errors.Join(store.ErrAway, err)
	}
	return &explained{words: "redis: " + named.Error(), cause: cause}
}
