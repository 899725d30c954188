package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// numbered are count texts, each with its number.
func numbered(name string, count int) []string {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprint(name, " ", i)
	}
	return texts
}

// sendMany sends texts one request after the other, batch texts in each.
func (u *user) sendMany(code proto.Code, to *user, batch int, texts []string) {
	u.system.t.Helper()
	for part := range slices.Chunk(texts, batch) {
		u.sendPrivate(code, to, part...)
	}
}

// TestStored stores messages of several senders for users who are away. Their
// next login brings them: oldest first, each with its own sender, up to 100
// texts a frame, and none of them twice.
func TestStored(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, abe := sys.old("bea"), sys.ours("abe")
	onAbe := abe.logIn()
	for _, receiver := range []*user{sys.old("olga"), sys.ours("ada")} {
		long, short := numbered("long", 230), numbered("short", 3)
		bea.sendMany(proto.CodeOffline, receiver, 115, long)
		onAbe.wantSend(proto.OutcomeStored, receiver, "between")
		bea.sendMany(proto.CodeOffline, receiver, 1, short)
		bea.sendGroup("group messages are not stored")
		onAbe.wantExactly(from(bea, "group messages are not stored")...)

		s := receiver.logIn()
		bea.sendPrivate(proto.CodeSuccess, receiver, "live")
		want := slices.Concat(stored(bea, long...), stored(abe, "between"), stored(bea, short...), from(bea, "live"))
		s.wantExactly(want...)
		if pages := look(s, func(h *heard) []int { return h.pages }); !slices.Equal(pages, []int{100, 100, 30, 1, 3}) {
			t.Errorf("OFFLINE frames of %v texts, want 100, 100, 30, 1, 3", pages)
		}
		if err := s.leave(); err != nil {
			t.Fatal(err)
		}
		again := receiver.logIn()
		again.wantExactly()
	}
}

// TestFetch fetches stored messages: of a user who is away, and of one who is connected and has
// them all.
func TestFetch(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea := sys.old("bea")
	for _, receiver := range []*user{sys.old("olga"), sys.ours("ada")} {
		fetch := members{"receiveUserId": receiver.ID}
		bea.sendPrivate(proto.CodeOffline, receiver, "kept", "and kept")
		receiver.want(proto.CodeOffline, proto.PathFetchOffline, fetch)
		s, err := receiver.enter()
		if err == nil {
			err = s.ping() // behind it the server has taken the login
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			receiver.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
		}
		s.wantExactly(stored(bea, "kept", "and kept")...)
	}
}

// TestBoxCount fills a sender's share of a box with 1,000 texts: one more is
// refused, and so is the whole of a batch that does not fit. Others' are stored,
// up to their own shares. All that was answered comes.
func TestBoxCount(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, ada, olga := sys.old("bea"), sys.ours("ada"), sys.old("olga")
	texts, others := numbered("text", shareTextsMax), numbered("other", shareTextsMax)
	last := len(texts) - 1
	bea.sendMany(proto.CodeOffline, olga, batchMax, texts[:last])
	bea.sendPrivate(proto.CodeOfflineStore, olga, "one", "two")
	bea.sendPrivate(proto.CodeOffline, olga, texts[last])
	bea.sendPrivate(proto.CodeOfflineStore, olga, "one more")
	on := ada.logIn()
	on.wantSend(proto.OutcomeStored, olga, others[0])
	ada.sendMany(proto.CodeOffline, olga, batchMax, others[1:])
	on.wantSend(proto.OutcomeFailed, olga, "one more")
	if code := look(on, func(h *heard) uint32 { return h.outcomes[2].GetCode() }); code != uint32(proto.CodeOfflineStore) {
		t.Errorf("outcome with code %d, want 9200", code)
	}
	bea.sendPrivate(proto.CodeSuccess, ada, "another's box")
	on.wantExactly(from(bea, "another's box")...)
	s := olga.logIn()
	s.wantExactly(append(stored(bea, texts...), stored(ada, others...)...)...)
	bea.sendPrivate(proto.CodeSuccess, olga, "room again")
	s.wantExactly(from(bea, "room again")...)
}

// TestBoxBytes fills a sender's share of a box in bytes, of which each text takes
// more than it has; one byte more is refused.
func TestBoxBytes(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, ada := sys.old("bea"), sys.ours("ada")
	texts := make([]string, shareBytesMax/(textMax+textOverhead))
	for i := range texts {
		texts[i] = fmt.Sprintf("%-*d", textMax, i)
	}
	rest := strings.Repeat("r", shareBytesMax-len(texts)*(textMax+textOverhead)-textOverhead)
	bea.sendMany(proto.CodeOffline, ada, 1, texts)
	bea.sendPrivate(proto.CodeOfflineStore, ada, rest+"x")
	bea.sendPrivate(proto.CodeOffline, ada, rest)
	bea.sendPrivate(proto.CodeOfflineStore, ada, "")
	s := ada.logIn()
	s.wantExactly(stored(bea, append(texts, rest)...)...)
}

// TestStoredLarge stores texts of a size that no two fit into a frame.
func TestStoredLarge(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, olga := sys.old("bea"), sys.old("olga")
	large := []string{strings.Repeat("a", textMax), strings.Repeat("b", textMax-1), "c"}
	bea.sendMany(proto.CodeOffline, olga, 1, large)
	s := olga.logIn()
	s.wantExactly(stored(bea, large...)...)
}
