package compat

import (
	"context"
	"fmt"
	"net"
	"time"
)

// A server whose logins all come by routes of the original may have no link at
// all. Then it looks each second whether one of those routes can be reached.
const (
	probeEvery = time.Second
	// probeMax bounds one connect.
	probeMax = time.Second
	// probeFor is how long a route that was reached counts as there: long enough
	// for a look at all of them that finds each silent but the last.
	probeFor = 5 * time.Second
)

// watch looks for routes of the original until ctx ends.
func (r *Routes) watch(ctx context.Context, s Server) {
	again := time.NewTicker(probeEvery)
	defer again.Stop()
	for {
		if linked, _ := s.Linked(); !linked {
			r.probe(ctx, s)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe connects to one route after the other until one can be reached. A server
// that never had a link has no session that another login can have replaced
// without its knowledge, so such a route confirms its lease, as one of ours does
// over a link.
func (r *Routes) probe(ctx context.Context, s Server) {
	dialer := net.Dialer{Timeout: probeMax}
	for _, host := range r.hosts {
		conn, err := dialer.DialContext(ctx, "tcp", host.Addr)
		if err != nil {
			continue
		}
		_ = conn.Close() // nothing was sent
		now := time.Now()
		r.reached.Store(&now)
		if _, ever := s.Linked(); !ever {
			s.Confirm()
		}
		return
	}
}

// Ready reports why no login can come by a route of the original, or nil.
func (r *Routes) Ready() error {
	at := r.reached.Load()
	if at == nil || time.Since(*at) > probeFor {
		return fmt.Errorf("server: no route has a link to it, and none of the %d routes of --route-url can be reached", len(r.hosts))
	}
	return nil
}
