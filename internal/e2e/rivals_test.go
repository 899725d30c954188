package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"cim/proto"
)

// rivals is one user as whom many clients want to log in at the same time.
type rivals struct {
	*system
	user   *user
	sender *user
	random *rand.Rand // test goroutine only
	left   *session   // lives on from the round before, or nil; it is of ours
}

// TestRepeatConcurrent lets 20 clients log in as one user at once: one session
// at most is left, onlineUser says the same, and nothing is received by two.
func TestRepeatConcurrent(t *testing.T) {
	for _, mode := range []string{"refuse", "replace"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			const seed, rounds, clients = 20260, 12, 20
			t.Logf("seed %d", seed)
			sys := startSystem(t, "--repeat-login", mode)
			r := &rivals{
				system: sys, user: sys.ours("rita"), sender: sys.old("sam"),
				random: rand.New(rand.NewPCG(seed, 0)),
			}
			for round := range rounds {
				r.round(round, clients)
			}
		})
	}
}

// round is one rush. It ends with the user offline, or with a session of ours
// that has to make way in the next.
func (r *rivals) round(round, clients int) {
	r.t.Helper()
	sessions := make([]atomic.Pointer[session], clients)
	var rush []func() error
	for i := range clients {
		one := &user{User: r.user.User, system: r.system, number: i, ours: r.random.IntN(2) == 0}
		shown := ""
		if one.ours && r.left != nil && r.random.IntN(2) == 0 {
			shown = r.left.user.ticket
		}
		rush = append(rush, func() error { return one.tryEnter(shown, &sessions[i]) })
	}
	together(r.t, rush...)
	var got []*session
	if r.left != nil {
		got = append(got, r.left)
	}
	for i := range sessions {
		if s := sessions[i].Load(); s != nil {
			got = append(got, s)
		}
	}
	r.settle(round, got)
}

// tryEnter logs in and connects as far as it is let.
func (u *user) tryEnter(ticket string, into *atomic.Pointer[session]) error {
	at, code, err := u.login(ticket)
	if err != nil {
		return err
	}
	switch code {
	case proto.CodeRepeatLogin:
		return nil
	case proto.CodeSuccess:
	default:
		return fmt.Errorf("/login in a rush: code %s", code)
	}
	u.ticket = at.ticket
	s, err := u.dial(at.address)
	if err != nil {
		return err
	}
	into.Store(s)
	return s.write(u.loginFrame(at.ticket))
}

// settle finds out which of the sessions lives, by a private and a group
// message, and compares what others say.
func (r *rivals) settle(round int, sessions []*session) {
	r.t.Helper()
	for _, s := range sessions {
		_ = s.ping() // an error is that the session has ended
	}
	var living []*session
	for _, s := range sessions {
		if !s.ended() {
			living = append(living, s)
		}
	}
	if len(living) > 1 {
		r.t.Fatalf("round %d: %d sessions of one user live", round, len(living))
	}
	if !within(waitMax, func() bool { return r.online()[int64(r.user.ID)] == (len(living) == 1) }) {
		r.t.Fatalf("round %d: %d sessions live, onlineUser lists the user: %t", round, len(living), r.online()[int64(r.user.ID)])
	}
	r.send(round, living)
	for _, s := range sessions {
		if n := look(s, func(h *heard) int { return len(h.deliveries) }); n > 0 {
			r.t.Fatalf("round %d: %d deliveries to a session too many", round, n)
		}
	}
	r.left = nil
	if len(living) == 1 && living[0].ours && round%2 == 0 {
		r.left = living[0]
		return
	}
	for _, s := range living {
		if err := s.leave(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rivals) send(round int, living []*session) {
	r.t.Helper()
	private, group := fmt.Sprint("private ", round), fmt.Sprint("group ", round)
	if len(living) == 0 {
		r.sender.sendGroup(group)
		return
	}
	if err := living[0].fence(); err != nil {
		r.t.Fatal(err)
	}
	r.sender.sendPrivate(proto.CodeSuccess, r.user, private)
	r.sender.sendGroup(group)
	living[0].wantExactly(append(from(r.sender, private), from(r.sender, group)...)...)
}
