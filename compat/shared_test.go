package compat

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"cim/proto"
	"cim/store"
)

// sharedMemory is a store in memory that processes of the original share.
type sharedMemory struct {
	*store.Memory

	mu       sync.Mutex
	places   map[proto.UserID]store.Place // records without a generation
	loggedIn map[proto.UserID]bool
	fault    error         // of LoggedIn
	aside    []string      // texts in the original's form
	scans    int           // that began
	scanning chan struct{} // each scan waits for it; nil: none does
}

func (b *sharedMemory) Lookup(ctx context.Context, user proto.UserID, f store.Freshness) (store.Record, bool, error) {
	b.mu.Lock()
	place, found := b.places[user]
	b.mu.Unlock()
	if found {
		return store.Record{Place: place, Connected: true}, true, nil
	}
	return b.Memory.Lookup(ctx, user, f)
}

func (b *sharedMemory) Claim(ctx context.Context, user proto.UserID, place store.Place, seen proto.Generation) (proto.Generation, error) {
	generation, err := b.Memory.Claim(ctx, user, place, seen)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.places, user)
		b.loggedIn[user] = true
	}
	return generation, err
}

func (b *sharedMemory) Connected(ctx context.Context) ([]store.Present, error) {
	present, err := b.Memory.Connected(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	for user, place := range b.places {
		present = append(present, store.Present{User: proto.User{ID: user, Name: "old"}, Record: store.Record{Place: place, Connected: true}})
	}
	return present, err
}

func (b *sharedMemory) LoggedIn(_ context.Context, user proto.UserID) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loggedIn[user], b.fault
}

// setFault lets LoggedIn fail; nil: it works again.
func (b *sharedMemory) setFault(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = err
}

func (b *sharedMemory) ClaimOriginal(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error {
	present, _, _ := b.Lookup(ctx, user, store.Fresh)
	present.Connected, older.Connected = false, false
	b.mu.Lock()
	defer b.mu.Unlock()
	if present != older || older == (store.Record{}) && b.loggedIn[user] {
		return store.ErrSuperseded
	}
	b.places[user], b.loggedIn[user] = place, true
	return nil
}

func (b *sharedMemory) ReleaseOriginal(_ context.Context, user proto.UserID, place store.Place) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if present, found := b.places[user]; found && present != place {
		return false, nil
	}
	_, found := b.places[user]
	delete(b.places, user)
	delete(b.loggedIn, user)
	return found, nil
}

func (b *sharedMemory) OriginalPlaces(ctx context.Context) (map[proto.UserID]store.Place, error) {
	b.mu.Lock()
	b.scans++
	gate := b.scanning
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.places), nil
}

func (b *sharedMemory) UnreadOriginal() uint64 { return 0 }

func (b *sharedMemory) AppendOriginal(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	b.mu.Lock()
	b.aside = append(b.aside, texts...)
	b.mu.Unlock()
	return b.Append(ctx, receiver, sender, id, at, texts)
}

func newSharedMemory() *sharedMemory {
	return &sharedMemory{
		Memory: store.NewMemory(store.Config{}), places: map[proto.UserID]store.Place{}, loggedIn: map[proto.UserID]bool{},
	}
}

// at puts a user where a route of the original has logged him in.
func (b *sharedMemory) at(user proto.User, place store.Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	place.Epoch = 0
	b.places[user.ID], b.loggedIn[user.ID] = place, true
}

func (b *sharedMemory) place(user proto.User) (store.Place, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	place, found := b.places[user.ID]
	return place, found
}

func (b *sharedMemory) asideTexts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.aside)
}

// oldServer is a server of the original: what it is sent, and its answers.
type oldServer struct {
	member proto.Member
	place  store.Place
	http   *httptest.Server
	cim    net.Listener

	mu       sync.Mutex
	bodies   []proto.SendMsgRequest
	answer   func(w http.ResponseWriter, request proto.SendMsgRequest) // nil: success
	connects atomic.Int32
}

// old starts a server of the original, which the route sees.
func (w *world) old() *oldServer {
	w.t.Helper()
	o := &oldServer{}
	o.http = httptest.NewServer(http.HandlerFunc(o.serve))
	w.t.Cleanup(o.http.Close)
	var err error
	if o.cim, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { o.cim.Close() })
	go func() {
		for {
			conn, err := o.cim.Accept()
			if err != nil {
				return
			}
			o.connects.Add(1)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(o.http.Listener.Addr().String())
	httpPort, _ := strconv.Atoi(port)
	o.place = store.Place{Host: "127.0.0.1", CIMPort: o.cim.Addr().(*net.TCPAddr).Port, HTTPPort: httpPort}
	o.member = proto.Member{Host: o.place.Host, CIMPort: o.place.CIMPort, HTTPPort: httpPort}
	if err := w.registry.Register(w.t.Context(), o.member); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the server is seen", func() bool { return w.sees(o) || w.counter("cim_route_members_passed_by") != "0" })
	return o
}

func (w *world) sees(o *oldServer) bool {
	m, there := w.member(o.member.Name())
	return there && m.Link == "" && m.State == Guest
}

// gone takes a server of the original out of the registry.
func (w *world) gone(o *oldServer) {
	w.t.Helper()
	if err := w.registry.Deregister(w.t.Context(), o.member); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the server is gone", func() bool { return !w.sees(o) })
}

func (o *oldServer) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request proto.SendMsgRequest
	if err := proto.DecodeBody(body, &request); err != nil || r.URL.Path != proto.PathSendMsg || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	o.bodies = append(o.bodies, request)
	answer := o.answer
	o.mu.Unlock()
	if answer != nil {
		answer(w, request)
		return
	}
	io.WriteString(w, `{"code":"9000","message":"m","reqNo":null,"dataBody":{"msg":"OK"}}`)
}

// answers lets the server answer so from now on.
func (o *oldServer) answers(answer func(w http.ResponseWriter, request proto.SendMsgRequest)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

// took is the texts that were sent for a user, in order, each with its cmd.
func (o *oldServer) took(user proto.User) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var texts []string
	for _, request := range o.bodies {
		if proto.UserID(request.UserID) != user.ID {
			continue
		}
		batch := request.BatchMsg
		if request.Msg != nil {
			batch = append(batch, *request.Msg)
		}
		for _, text := range batch {
			texts = append(texts, request.Cmd+" "+text)
		}
	}
	return texts
}

func (w *world) wantTook(o *oldServer, user proto.User, want ...string) {
	w.t.Helper()
	if got := o.took(user); !slices.Equal(got, want) {
		w.t.Fatalf("%s was sent %q, want %q", user.Name, got, want)
	}
}
