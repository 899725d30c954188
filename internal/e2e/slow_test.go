package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"cim/proto"
)

const (
	// heavyBytes is a text that a few of fill any buffer with.
	heavyBytes = 30 << 10
	// heavyMax bounds the texts that a slow reader gets before it must have
	// been closed: several times what its session and its socket hold.
	heavyMax = 200
)

// heavy is the text of a number.
func heavy(number int) string { return fmt.Sprintf("%-*d", heavyBytes, number) }

// readHeavy are the numbers of heavy texts.
func readHeavy(t *testing.T, deliveries []delivery) []int {
	t.Helper()
	var numbers []int
	for _, d := range deliveries {
		number, err := strconv.Atoi(strings.TrimSpace(d.Text))
		if err != nil || len(d.Text) != heavyBytes {
			t.Fatalf("delivery %.40q of %d bytes", d.Text, len(d.Text))
		}
		numbers = append(numbers, number)
	}
	return numbers
}

// joinSlow logs in a client that does not read, with a small buffer, and
// returns once its session takes messages, how many of them it was sent.
func (u *user) joinSlow(sender *user) (s *session, sent int) {
	t := u.system.t
	t.Helper()
	at := u.wantLogin(proto.CodeSuccess, "")
	s, err := u.dialSilent(at.address)
	if err == nil {
		s.cut = true
		err = s.conn.(*net.TCPConn).SetReadBuffer(8 << 10)
	}
	if err == nil {
		err = s.write(u.loginFrame(at.ticket))
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a session that takes messages", func() bool {
		code, err := sender.private(u, heavy(sent))
		sent++
		return err == nil && code == proto.CodeSuccess
	})
	return s, sent
}

// TestSlowReader sends private messages to clients that do not read: past what
// the server keeps for them they are stored, others are not held up, and once the
// client reads, all comes in order, nothing twice.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, abe := sys.old("bea"), sys.ours("abe").logIn()
	for _, slow := range []*user{sys.old("olga"), sys.ours("ada")} {
		s, sent := slow.joinSlow(bea)
		for stored := 0; stored < 3; sent++ {
			if sent == heavyMax {
				t.Fatalf("nothing was stored for %s after %d texts of %d bytes", slow.Name, sent, heavyBytes)
			}
			code, err := bea.private(slow, heavy(sent))
			switch {
			case err != nil:
				t.Fatal(err)
			case code == proto.CodeOffline:
				stored++
			case code != proto.CodeSuccess || stored > 0:
				t.Fatalf("text %d to a slow reader: code %s, stored so far: %d", sent, code, stored)
			}
			bea.sendPrivate(proto.CodeSuccess, abe.user, "not held up")
			abe.wantExactly(from(bea, "not held up")...)
		}
		s.listen()
		s.until("all that was sent", func(h *heard) bool { return len(h.deliveries) >= sent || h.ended })
		for i, number := range readHeavy(t, look(s, func(h *heard) []delivery { return h.deliveries })) {
			if number != i {
				t.Fatalf("%s read number %d in place %d", slow.Name, number, i)
			}
		}
		if ended := look(s, func(h *heard) bool { return h.ended }); ended {
			t.Errorf("%s was closed", slow.Name)
		}
	}
}

// TestSlowReaderGroup sends group messages past a client that does not read. The others get each of
// them; this client is left out of those that it has no room for. What it gets is in order, and its
// session continues.
func TestSlowReaderGroup(t *testing.T) {
	t.Parallel()
	const groups = 20
	sys := startSystem(t)
	bea := sys.old("bea")
	others := []*session{sys.old("odo").logIn(), sys.ours("abe").logIn()}
	slow := sys.old("olga")
	s, sent := slow.joinSlow(bea)
	for range groups {
		bea.sendGroup(heavy(sent))
		for _, other := range others {
			other.wantExactly(from(bea, heavy(sent))...)
		}
		sent++
	}
	if !sys.online()[int64(slow.ID)] {
		t.Errorf("%s was closed", slow.Name)
	}
	s.listen()
	if err := s.fence(); err != nil {
		t.Fatal(err)
	}
	numbers := readHeavy(t, look(s, func(h *heard) []delivery { return h.deliveries }))
	if len(numbers) >= sent {
		t.Errorf("%s was left out of nothing: it read %d of %d", slow.Name, len(numbers), sent)
	}
	for i := range numbers {
		if i > 0 && numbers[i] <= numbers[i-1] {
			t.Fatalf("%s read number %d behind %d", slow.Name, numbers[i], numbers[i-1])
		}
	}
}
