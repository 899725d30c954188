package loadgen

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"testing"
	"testing/synctest"

	"cim/proto"
)

// TestLoginPace halves the logins at a time once for refusals that come together,
// down to one, and adds one for each round of logins.
func TestLoginPace(t *testing.T) {
	p := newLoginPace(64)
	now := int64(1)
	for _, want := range []int{32, 16, 8, 4, 2, 1, 1} {
		p.refused(now)
		p.refused(now + halveEvery - 1)
		if p.limit != want {
			t.Fatalf("limit %d, want %d", p.limit, want)
		}
		now += halveEvery
	}
	for range 1 + 2 + 3 {
		if err := p.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.end()
	}
	if p.limit != 4 {
		t.Errorf("limit %d after three rounds of logins, want 4", p.limit)
	}
}

// TestLoginPaceWaits has a login wait for the end of another one, and another one
// for the end of its context.
func TestLoginPaceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newLoginPace(1)
		if err := p.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		begun, ended := make(chan error, 1), make(chan error, 1)
		go func() { ended <- p.begin(ctx) }()
		synctest.Wait()
		cancel(io.EOF)
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the cause of the context's end", err)
		}
		go func() { begun <- p.begin(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-begun:
			t.Fatalf("begun beside another login: %v", err)
		default:
		}
		p.end()
		if err := <-begun; err != nil {
			t.Error(err)
		}
	})
}

// TestLoginRefusedPaces opens a fleet one of whose logins is refused as the cluster
// has too much to do, and one whose user is taken for logged in, which says
// nothing about load.
func TestLoginRefusedPaces(t *testing.T) {
	for code, want := range map[proto.Code]int{proto.CodeFailure: 8, proto.CodeNoServer: 8, proto.CodeRepeatLogin: 16} {
		p := newPeer(t)
		p.refusePlace = func(n int) proto.Code {
			if n == 6 { // the last client's first
				return code
			}
			return proto.CodeSuccess
		}
		cfg := small(p)
		cfg.LoginsAtOnce = 16
		f, err := openFleet(t.Context(), cfg, 0, 6, new(faults), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if f.loginPace.limit != want {
			t.Errorf("%v: %d logins at a time, want %d", code, f.loginPace.limit, want)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRegisterTriedAgain registers users of whom one was refused for the moment.
func TestRegisterTriedAgain(t *testing.T) {
	p := newPeer(t)
	p.refuseRegister = func(n int) proto.Code {
		if n == 1 {
			return proto.CodeFailure
		}
		return proto.CodeSuccess
	}
	cfg := small(p)
	cfg.Mode = Idle
	if _, err := Run(t.Context(), cfg, io.Discard); err != nil {
		t.Fatal(err)
	}
}

// TestIdleCountsRegistration measures the memory of a process whose users take 64 MiB
// before the first of them has a connection: it counts. The runtime may give back
// memory of earlier tests meanwhile, so half of it is enough; memory from after the
// registrations would be next to none.
func TestIdleCountsRegistration(t *testing.T) {
	const bytes = 64 << 20
	var users []byte
	p := newPeer(t)
	p.refuseRegister = func(n int) proto.Code {
		if n == 1 {
			users = make([]byte, bytes)
			for i := 0; i < len(users); i += 4096 {
				users[i] = 1 // it is resident
			}
		}
		return proto.CodeSuccess
	}
	cfg := small(p)
	cfg.Mode, cfg.ServerPIDs = Idle, []int{os.Getpid()}
	debug.FreeOSMemory() // what earlier tests have left
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Trials[0].IdleBytes * float64(r.Trials[0].Conns); got < bytes/2 || len(users) == 0 {
		t.Errorf("%.0f bytes, want those of the users, %d", got, bytes)
	}
}
