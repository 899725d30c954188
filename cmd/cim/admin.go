package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"cim/internal/admission"
	"cim/internal/httpserve"
	netlistener "cim/internal/listener"
	"cim/internal/metrics"
)

const (
	// adminReadMax bounds the reading of a request.
	adminReadMax = 5 * time.Second
	// adminWriteMax bounds an answer, behind the seconds that a profile is asked
	// for.
	adminWriteMax = 30 * time.Second
	// adminProfilesMax and adminRequestsMax bound the requests in progress, of
	// profiles and of all else but health, which is always answered.
	adminProfilesMax = 8
	adminRequestsMax = 8
	// adminHeaderMax bounds a request's header in bytes.
	adminHeaderMax = 16 << 10
)

const (
	pathLive     = "/livez"
	pathReady    = "/readyz"
	pathProfiles = "/debug/pprof/"
)

// notReady is a part that cannot serve now, and why.
type notReady struct{ part, why string }

func (p notReady) String() string { return p.part + ": " + p.why }

// reasons are a part's reasons, one for each line of err. The part's name in front of a line is
// left out.
func reasons(part string, err error) []notReady {
	if err == nil {
		return nil
	}
	var all []notReady
	for line := range strings.Lines(err.Error()) {
		why := strings.TrimSuffix(line, "\n")
		for _, own := range []string{part + ": ", part + "/zk: "} {
			why = strings.TrimPrefix(why, own)
		}
		all = append(all, notReady{part, why})
	}
	return all
}

// adminDeps is what the admin listener shows.
type adminDeps struct {
	ready    func() []notReady
	metrics  *metrics.Set
	operated operated
	log      *slog.Logger
	// addresses and idle are those of all ports.
	addresses admission.Policy
	idle      time.Duration
}

// admin is the listener for operators: health, metrics, profiles, version, and below /admin/ what
// cim admin asks. It shows no message and no ticket.
type admin struct {
	deps     adminDeps
	waits    contention
	listener net.Listener
	server   *http.Server
	done     chan error // of capacity 1: the error of an unexpected end
}

func startAdmin(host string, port int, deps adminDeps) (*admin, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	opened, err := net.Listen(netlistener.Network(host), address)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %s: %w", address, err)
	}
	a := &admin{deps: deps, done: make(chan error, 1)}
	a.server = &http.Server{
		Handler:        a.handler(),
		ReadTimeout:    adminReadMax,
		WriteTimeout:   adminWriteMax,
		IdleTimeout:    deps.idle,
		MaxHeaderBytes: adminHeaderMax,
		ErrorLog:       slog.NewLogLogger(deps.log.Handler(), slog.LevelWarn),
	}
	evicted := deps.metrics.Counter("cim_admin_connections_evicted_total")
	steady := netlistener.New(opened, "admin-port", deps.log, deps.metrics.Counter(`cim_accept_pauses_total{port="admin"}`).Inc)
	a.listener = httpserve.NewGuard(steady, a.server, httpserve.GuardConfig{
		ConnsMax: adminConnsMax, Addresses: deps.addresses,
		Free: func(path string) bool { return path == pathLive || path == pathReady },
		Kinds: []httpserve.GuardKind{
			{Of: func(path string) bool { return strings.HasPrefix(path, pathProfiles) }, Max: adminProfilesMax},
			{Of: func(string) bool { return true }, Max: adminRequestsMax},
		},
		Evicted: func(net.Addr) { evicted.Inc() },
	})
	go a.run()
	return a, nil
}

// run serves until close.
func (a *admin) run() {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		a.done <- fmt.Errorf("admin: %w", err)
	}
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathLive, a.live)
	mux.HandleFunc("GET "+pathReady, a.ready)
	mux.HandleFunc("GET /metrics", a.writeMetrics)
	mux.HandleFunc("GET /version", a.version)
	newOperators(a.deps).handle(mux)
	mux.HandleFunc("GET "+pathProfiles, pprof.Index)
	// Not cmdline: a URL of Redis on the command line may have a password.
	mux.Handle("GET "+pathProfiles+"cmdline", http.NotFoundHandler())
	mux.HandleFunc("GET "+pathProfiles+"mutex", a.waits.handler("mutex"))
	mux.HandleFunc("GET "+pathProfiles+"block", a.waits.handler("block"))
	mux.HandleFunc("GET "+pathProfiles+"profile", pprof.Profile)
	mux.HandleFunc("GET "+pathProfiles+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+pathProfiles+"trace", pprof.Trace)
	return mux
}

func (a *admin) live(w http.ResponseWriter, _ *http.Request) {
	a.noteWrite(fmt.Fprintln(w, "ok"))
}

// ready writes a line for each part that is not ready, "part: why", and then
// the status is 503.
func (a *admin) ready(w http.ResponseWriter, _ *http.Request) {
	parts := a.deps.ready()
	if len(parts) == 0 {
		a.noteWrite(fmt.Fprintln(w, "ready"))
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, p := range parts {
		a.noteWrite(fmt.Fprintln(w, p))
	}
}

func (a *admin) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	a.deps.metrics.Write(w)
}

func (a *admin) version(w http.ResponseWriter, _ *http.Request) {
	a.noteWrite(0, writeVersion(w))
}

// noteWrite logs an answer that could not be written, since its client has gone.
func (a *admin) noteWrite(_ int, err error) {
	if err != nil {
		a.deps.log.Debug("admin: answer not written", "error", err)
	}
}

// address is the listener's, with its real port.
func (a *admin) address() string { return a.listener.Addr().String() }

// close lets the requests in flight finish until ctx ends. A profile that is
// still being taken does not hold up the end.
func (a *admin) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); err == nil {
		return nil
	}
	if err := a.server.Close(); err != nil {
		return fmt.Errorf("admin: close: %w", err)
	}
	return nil
}
