package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"cim/internal/logqueue"
	"cim/internal/metrics"
)

// service is what a command runs until a signal: parts that were started
// together and are drained together.
type service interface {
	// ready reports which parts are not ready, and why.
	ready() []notReady
	// ends are channels that each receive the error of a part's unexpected end.
	ends() []<-chan error
	// addresses are where the service can be reached.
	addresses() addresses
	// counters is the process' set of metrics.
	counters() *metrics.Set
	// drain ends all parts.
	drain() error
}

// drainMax bounds a whole drain, unless a setting does.
const drainMax = 30 * time.Second

// runService runs what start starts until ctx ends, which is well, or a part
// does, which is not. Either way it drains.
func runService(ctx context.Context, log *slog.Logger, lines *logqueue.Queue, start func() (service, error), out io.Writer) error {
	s, err := start()
	if err != nil {
		return err
	}
	s.counters().Gauge(`cim_log_dropped_total`, func() float64 { return float64(lines.Dropped()) })
	err = serve(ctx, s, log, out)
	if ctx.Err() != nil {
		log.Info("draining", "why", context.Cause(ctx))
		err = nil
	} else {
		log.Error("ending", "why", err)
	}
	if err = errors.Join(err, s.drain()); err == nil {
		log.Info("stopped")
	}
	return err
}

// awaiter is a service that prints its addresses only once all of it is ready. Other services print
// them while they still wait for other processes.
type awaiter interface {
	awaitReady(ctx context.Context) error
}

// serve prints the addresses of s, and returns why it has to end.
func serve(ctx context.Context, s service, log *slog.Logger, out io.Writer) error {
	ctx, cancel := watch(ctx, s)
	defer cancel(nil)
	readiness := newReadinessLog(s, log)
	if a, ok := s.(awaiter); ok {
		if err := a.awaitReady(ctx); err != nil {
			return err
		}
		readiness.note(nil, time.Now()) // the log has the addresses first, however soon s ends
	} else {
		log.Info("listening", s.addresses().attrs()...)
	}
	if remove, err := leaveRunFile(s.addresses()); err == nil {
		defer remove()
	} else {
		log.Debug("cim admin does not find this process by itself", "error", err)
	}
	go announce(out, s.addresses(), log)
	readiness.follow(ctx)
	return context.Cause(ctx)
}

// watch returns a context that ends with ctx, or with the error of a part's unexpected end.
func watch(ctx context.Context, s service) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, end := range s.ends() {
		go func() {
			select {
			case err := <-end:
				cancel(err)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// addresses is the line with the process' addresses, for its parent process. Addresses that the
// process does not have are left out.
type addresses struct {
	CIM   string `json:"cim,omitempty"`
	HTTP  string `json:"http,omitempty"`
	Link  string `json:"link,omitempty"`
	Route string `json:"route,omitempty"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// attrs are the addresses for a log.
func (a addresses) attrs() []any {
	var attrs []any
	for _, one := range []struct{ name, address string }{
		{"cim", a.CIM}, {"http", a.HTTP}, {"link", a.Link}, {"route", a.Route}, {"admin", a.Admin},
	} {
		if one.address != "" {
			attrs = append(attrs, one.name, one.address)
		}
	}
	return append(attrs, "pid", a.PID)
}

// announce writes the addresses to out, standard output. The process does not wait for its reader,
// and continues without one: the log has the addresses too.
func announce(out io.Writer, a addresses, log *slog.Logger) {
	if err := writeAddresses(out, a); err != nil {
		log.Warn("standard output does not have the addresses", "error", err)
	}
}

func writeAddresses(out io.Writer, a addresses) error {
	line, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the addresses: %w", err)
	}
	return nil
}
