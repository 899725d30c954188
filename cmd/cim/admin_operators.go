package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"cim/internal/metrics"
	"cim/proto"
	"cim/route"
	"cim/server"
)

const (
	pathState    = "/admin/state"
	pathSessions = "/admin/sessions"
	pathKick     = "/admin/kick"
	// pathRefuseTokens is a route's.
	pathRefuseTokens = "/admin/refuse-tokens"
	// headerKick must come with what changes something: a page of another site
	// cannot have a browser send it.
	headerKick = "Cim-Admin"

	// operatorBodyMax bounds the body of a request in bytes.
	operatorBodyMax = 4 << 10
	// operatorTimeout bounds the time of the event loops for one request. The asking side waits a
	// little longer.
	operatorTimeout = 1500 * time.Millisecond
	// sessionsDefault is how many sessions a page has that asks for no number.
	sessionsDefault = 256
)

// operated is what an operator asks about and acts on.
type operated struct {
	kind   string         // the command that the process runs
	server *server.Server // nil: none
	route  *route.Route   // nil: none
	secret string         // the links'; "": only loopback is answered
}

// processState is the state of a process for operators. Counts are since its start.
type processState struct {
	Kind          string        `json:"kind"`
	PID           int           `json:"pid"`
	Started       time.Time     `json:"started"`
	UptimeSeconds float64       `json:"uptimeSeconds"`
	CPUSeconds    float64       `json:"cpuSeconds"` // user and system
	ResidentBytes uint64        `json:"residentBytes"`
	NotReady      []string      `json:"notReady"`
	Server        *server.State `json:"server,omitempty"`
	Route         *route.State  `json:"route,omitempty"`
}

// sessionsPage is some sessions of a server.
type sessionsPage struct {
	Server   string           `json:"server"` // the member's name; "": no server runs here
	Epoch    proto.Epoch      `json:"epoch,string"`
	Sessions []server.Session `json:"sessions"`
	Next     string           `json:"next,omitempty"` // of the page behind; "": there is none
}

// kickRequest names the user, and may name the session: another one is then
// left alone, so that a repeated request does no harm.
type kickRequest struct {
	User    proto.UserID `json:"userId"`
	Session string       `json:"session,omitempty"`
	Epoch   proto.Epoch  `json:"epoch,string,omitempty"`
}

// kickAnswer is about the session that ends.
type kickAnswer struct {
	User   proto.UserID `json:"userId"`
	Server string       `json:"server"`
}

// operatorFault is the body of each answer that is not 200.
type operatorFault struct {
	Error string `json:"error"`
}

// operators answers requests below /admin/, from loopback or with a proof of the link secret.
type operators struct {
	operated
	ready   func() []notReady
	log     *slog.Logger
	started time.Time

	kicks, refused *metrics.Counter
	lastLogged     atomic.Int64 // Unix time of the last refusal that was logged: one a second
}

func newOperators(deps adminDeps) *operators {
	return &operators{
		operated: deps.operated, ready: deps.ready, log: deps.log, started: time.Now(),
		kicks: deps.metrics.Counter("cim_admin_kicks_total"), refused: deps.metrics.Counter("cim_admin_refused_total"),
	}
}

func (o *operators) handle(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathState, o.guarded(o.state))
	mux.HandleFunc("GET "+pathSessions, o.guarded(o.sessions))
	mux.HandleFunc("POST "+pathKick, o.guarded(o.kick))
	mux.HandleFunc("POST "+pathRefuseTokens, o.guarded(o.refuseTokens))
}

// statusError is a refusal and its HTTP status.
type statusError struct {
	status int
	error
}

func refuse(status int, format string, args ...any) error {
	return statusError{status, fmt.Errorf(format, args...)}
}

// guarded admits a request and writes what serve answers.
func (o *operators) guarded(serve func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), operatorTimeout)
		defer cancel()
		answer, err := o.answer(r.WithContext(ctx), w, serve)
		status := http.StatusOK
		if err != nil {
			status = http.StatusServiceUnavailable
			if refused := (statusError{}); errors.As(err, &refused) {
				status = refused.status
			}
			answer = operatorFault{err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			o.log.Debug("admin: answer not written", "error", err)
		}
	}
}

func (o *operators) answer(r *http.Request, w http.ResponseWriter, serve func(*http.Request, []byte) (any, error)) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, operatorBodyMax))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body cannot be read: %w", err)
	}
	if err := admit(o.secret, r, body, time.Now()); err != nil {
		o.refusal(r, err)
		return nil, statusError{http.StatusForbidden, err}
	}
	return serve(r, body)
}

// refusal is logged once a second at most, and counted always.
func (o *operators) refusal(r *http.Request, err error) {
	o.refused.Inc()
	if now := time.Now().Unix(); o.lastLogged.Swap(now) != now {
		o.log.Warn("admin request refused", "path", r.URL.Path, "from", r.RemoteAddr, "error", err)
	}
}

func (o *operators) state(*http.Request, []byte) (any, error) {
	cpu, resident, err := usage()
	if err != nil {
		return nil, err
	}
	state := processState{
		Kind: o.kind, PID: os.Getpid(), Started: o.started, UptimeSeconds: time.Since(o.started).Seconds(),
		CPUSeconds: cpu.Seconds(), ResidentBytes: resident, NotReady: []string{},
	}
	for _, part := range o.ready() {
		state.NotReady = append(state.NotReady, part.String())
	}
	if o.server != nil {
		s := o.server.State()
		state.Server = &s
	}
	if o.route != nil {
		s := o.route.State()
		state.Route = &s
	}
	return state, nil
}

// sessions answers a page, or with ?user=ID the session of one user.
func (o *operators) sessions(r *http.Request, _ []byte) (any, error) {
	page := sessionsPage{Sessions: []server.Session{}}
	ask, err := readSessionsAsk(r)
	if err != nil || o.server == nil {
		return page, err
	}
	member := o.server.Member()
	page.Server, page.Epoch = member.Name(), member.Epoch
	var found []server.Session
	var next *server.ListingCursor
	if ask.user != 0 {
		found, err = o.server.SessionOf(r.Context(), ask.user)
	} else {
		found, next, err = o.server.Sessions(r.Context(), ask.after, ask.limit)
	}
	page.Sessions = append(page.Sessions, found...)
	if next != nil {
		page.Next = next.String()
	}
	return page, err
}

// sessionsAsk is the query of pathSessions.
type sessionsAsk struct {
	user  proto.UserID // 0: any
	after server.ListingCursor
	limit int
}

func readSessionsAsk(r *http.Request) (ask sessionsAsk, err error) {
	query := r.URL.Query()
	ask.limit = sessionsDefault
	if text := query.Get("user"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return ask, refuse(http.StatusBadRequest, "user %q is not an id", text)
		}
		ask.user = proto.UserID(id)
	}
	if text := query.Get("limit"); text != "" {
		ask.limit, err = strconv.Atoi(text)
		if err != nil || ask.limit < 1 || ask.limit > server.SessionsMax {
			return ask, refuse(http.StatusBadRequest, "limit %q is not 1 to %d", text, server.SessionsMax)
		}
	}
	if text := query.Get("after"); text != "" {
		if ask.after, err = server.ParseListingCursor(text); err != nil {
			return ask, statusError{http.StatusBadRequest, err}
		}
	}
	return ask, nil
}

// kick ends a session. It logs the address that asked for it.
func (o *operators) kick(r *http.Request, body []byte) (any, error) {
	ask, err := o.readKick(r, body)
	if err != nil {
		return nil, err
	}
	kicked, err := o.server.Kick(r.Context(), ask.User, ask.Session)
	if err != nil {
		return nil, err
	}
	if !kicked {
		return nil, refuse(http.StatusNotFound, "user %d has no such session here", ask.User)
	}
	o.kicks.Inc()
	o.log.Warn("session kicked", "user", int64(ask.User), "by", r.RemoteAddr)
	return kickAnswer{ask.User, o.server.Member().Name()}, nil
}

// readChange reads the body of a request that changes something; form describes the body.
func readChange(r *http.Request, body []byte, ask any, form string) error {
	if r.Header.Get("Content-Type") != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	if r.Header.Get(headerKick) == "" {
		return refuse(http.StatusForbidden, "the header %s is missing", headerKick)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(ask); err != nil || decoder.More() {
		return refuse(http.StatusBadRequest, "the body is not %s", form)
	}
	return nil
}

func (o *operators) readKick(r *http.Request, body []byte) (ask kickRequest, err error) {
	if err := readChange(r, body, &ask, `{"userId":ID} with "session" and "epoch" or without`); err != nil {
		return ask, err
	}
	switch {
	case ask.User < 1:
		return ask, refuse(http.StatusBadRequest, "user %d is not an id", ask.User)
	case o.server == nil:
		return ask, refuse(http.StatusNotFound, "no server runs here")
	case ask.Epoch != 0 && ask.Epoch != o.server.Member().Epoch:
		return ask, refuse(http.StatusConflict, "another run of the server is meant")
	}
	return ask, nil
}
