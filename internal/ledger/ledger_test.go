package ledger

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a ledger of four connected users.
func book() *Ledger {
	l := New(Config{Users: 4, PrivateMax: 100, GroupMax: 10})
	for user := range User(4) {
		l.Connected(user)
	}
	return l
}

func (l *Ledger) begin(t *testing.T, from, to User) int {
	t.Helper()
	seq, err := l.Begin(from, to, Taken, 5)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func (l *Ledger) sent(t *testing.T, from, to User, outcome Outcome) int {
	t.Helper()
	seq := l.begin(t, from, to)
	l.Answer(from, to, seq, outcome, 7)
	return seq
}

func (l *Ledger) arrive(from, to User, seq int, receiver User) bool {
	_, first := l.Arrive(Arrival{Receiver: receiver, From: from, Tag: Tag{From: from, To: to, Seq: seq}, At: 9})
	return first
}

func want(t *testing.T, v *Verdict, counts map[Kind]int) {
	t.Helper()
	for k := range Kinds {
		if v.Count(k) != counts[k] {
			t.Errorf("%s: %d, want %d: %v", k, v.Count(k), counts[k], v)
		}
		if examples := len(v.Examples[k]); examples != min(counts[k], examplesMax) {
			t.Errorf("%s: %d examples of %d", k, examples, counts[k])
		}
	}
}

// TestPrivate: a message with each outcome arrives never, once and twice.
func TestPrivate(t *testing.T) {
	kinds := map[Outcome][3]map[Kind]int{
		Delivered:    {{Lost: 1}, {}, {Doubled: 1}},
		Acknowledged: {{Lost: 1}, {Early: 1}, {Early: 1, Doubled: 1}},
		Stored:       {{Lost: 1}, {}, {Doubled: 1}},
		Refused:      {{}, {RefusedArrived: 1}, {RefusedArrived: 1, Doubled: 1}},
		Failed:       {{}, {FailedArrived: 1}, {FailedArrived: 1, Doubled: 1}},
		Unknown:      {{UnknownNot: 1}, {UnknownArrived: 1}, {UnknownArrived: 1, Doubled: 1}},
	}
	for outcome, by := range kinds {
		for arrivals, counts := range by {
			l := book()
			seq := l.sent(t, 0, 1, outcome)
			for i := range arrivals {
				if first := l.arrive(0, 1, seq, 1); first != (i == 0) {
					t.Errorf("arrival %d: first %t", i+1, first)
				}
			}
			want(t, l.Judge(nil), counts)
		}
	}
}

// TestReceived: a message is answered as received before it arrived, and after; the
// wants are counted separately.
func TestReceived(t *testing.T) {
	l := book()
	for _, want := range []Want{Taken, Received, StoredFirst} {
		for arrived, answered := range []int64{8, 9, 10} { // arrive says 9
			seq, err := l.Begin(0, 1, want, 5)
			if err != nil {
				t.Fatal(err)
			}
			l.Answer(0, 1, seq, Acknowledged, answered)
			if arrived != 2 {
				l.arrive(0, 1, seq, 1)
			}
		}
	}
	v := l.Judge(func(f Fault) bool { return f.Want == Taken && f.Kind == Lost })
	want(t, v, map[Kind]int{Lost: 2, Early: 3})
	for w, lost := range map[Want]int{Taken: 0, Received: 1, StoredFirst: 1} {
		if of := v.ByWant[w]; of.Counts[Lost] != lost || of.Excused[Lost] != 1-lost || of.Counts[Early] != 1 || of.Sum() != 3 {
			t.Errorf("want %d: %+v", w, of)
		}
	}
	if text := v.String(); !strings.Contains(text, "; want 1: received 3 lost 1") {
		t.Errorf("verdict %q", text)
	}
}

// TestTrail lists the messages around one in the order of their arrival.
func TestTrail(t *testing.T) {
	l := book()
	for range 4 {
		l.sent(t, 0, 1, Stored)
	}
	for at, seq := range []int{1, 3, 0} {
		l.Arrive(Arrival{Receiver: 1, Tag: Tag{From: 0, To: 1, Seq: seq}, At: int64(at+1) * 1e9})
	}
	if got := l.Trail(0, 1, 3, 1); got != " 1(due 0.000s stored 0.000s)@1.000s 3(due 0.000s stored 0.000s)@2.000s" {
		t.Errorf("trail %q", got)
	}
	if l.Sent(0, 1) != 4 || l.Sent(1, 0) != 0 || l.Private() != 4 {
		t.Errorf("sent %d and %d, private %d, want 4, 0 and 4", l.Sent(0, 1), l.Sent(1, 0), l.Private())
	}
	if got := l.Trail(0, 1, 4, 1) + l.Trail(2, 3, 0, 1); got != "" {
		t.Errorf("trail of none %q", got)
	}
}

// TestUnanswered judges a call that has not ended.
func TestUnanswered(t *testing.T) {
	l := book()
	l.begin(t, 0, 1)
	want(t, l.Judge(nil), map[Kind]int{UnknownNot: 1})
}

// TestMisdelivered: a message arrives at another user, or under another name, and
// one arrives that was never sent.
func TestMisdelivered(t *testing.T) {
	l := book()
	seq := l.sent(t, 0, 1, Delivered)
	l.arrive(0, 1, seq, 2)
	l.Arrive(Arrival{Receiver: 1, From: 3, Tag: Tag{From: 0, To: 1, Seq: seq}})
	l.arrive(0, 1, seq+1, 1)
	l.arrive(2, 3, 0, 3)
	l.sent(t, 0, Everyone, Delivered)
	l.arrive(0, Everyone, 0, 0)
	for user := range User(3) {
		l.arrive(0, Everyone, 0, user+1)
	}
	want(t, l.Judge(nil), map[Kind]int{Lost: 1, Misdelivered: 5})
}

// TestReordered: a message arrives behind the next one. That is no fault if its
// answer left open whether it arrives.
func TestReordered(t *testing.T) {
	for outcome, counts := range map[Outcome]map[Kind]int{
		Delivered: {Reordered: 1}, Stored: {Reordered: 1}, Failed: {FailedArrived: 1}, Unknown: {UnknownArrived: 1},
	} {
		l := book()
		early, late := l.sent(t, 0, 1, outcome), l.sent(t, 0, 1, Delivered)
		l.arrive(0, 1, late, 1)
		l.arrive(0, 1, early, 1)
		want(t, l.Judge(nil), counts)
	}
}

// TestGroup: a group message is owed to users who were connected from before the
// call until after its answer, and to no others; each receiver's order is checked.
func TestGroup(t *testing.T) {
	l := book()
	l.Disconnected(1)
	seq := l.begin(t, 0, Everyone)
	l.Connected(1) // too late
	l.Disconnected(2)
	l.Connected(2) // another session
	l.Answer(0, Everyone, seq, Delivered, 7)
	v := l.Judge(nil)
	want(t, v, map[Kind]int{Lost: 1})
	if f := v.Examples[Lost][0]; f.Receiver != 3 || f.From != 0 || f.To != Everyone {
		t.Errorf("lost %v, want user 3's", f)
	}
	next := l.sent(t, 0, Everyone, Delivered)
	for user := range User(3) {
		l.arrive(0, Everyone, next, user+1)
	}
	for _, receiver := range []User{1, 3, 3} {
		l.arrive(0, Everyone, seq, receiver)
	}
	want(t, l.Judge(nil), map[Kind]int{Reordered: 2, Doubled: 1})
}

// TestExcused counts excused faults separately, and lists them.
func TestExcused(t *testing.T) {
	l := book()
	l.sent(t, 0, 1, Delivered)
	l.sent(t, 0, 2, Delivered)
	v := l.Judge(func(f Fault) bool { return f.Receiver == 2 })
	want(t, v, map[Kind]int{Lost: 1})
	if v.Excused[Lost] != 1 || v.ExcusedSome[Lost][0].Receiver != 2 {
		t.Errorf("excused %d, %v", v.Excused[Lost], v.ExcusedSome[Lost])
	}
	if text := v.String(); !strings.Contains(text, "lost 1 (and 1 excused)") {
		t.Errorf("verdict %q", text)
	}
}

// TestBounds fills the ledger, and the list of suspects, and goes one past.
func TestBounds(t *testing.T) {
	l := New(Config{Users: 2, PrivateMax: 2, GroupMax: 1})
	for i := range 3 {
		if _, err := l.Begin(0, 1, Taken, 0); errors.Is(err, ErrFull) != (i == 2) {
			t.Errorf("private message %d: %v", i+1, err)
		}
	}
	for i := range 2 {
		if _, err := l.Begin(0, Everyone, Taken, 0); errors.Is(err, ErrFull) != (i == 1) {
			t.Errorf("group message %d: %v", i+1, err)
		}
	}
	for range suspectsMax + 2 {
		l.arrive(0, 1, 0, 1)
	}
	if n := l.Judge(nil).Count(Doubled); n != suspectsMax+1 {
		t.Errorf("doubled %d, want %d", n, suspectsMax+1)
	}
	for _, c := range []Config{{}, {Users: 1<<24 + 1}, {Users: 1, PrivateMax: -1}} {
		if c.Check() == nil {
			t.Errorf("%+v has no fault", c)
		}
	}
}

// TestTag parses tags that it wrote, and nothing else.
func TestTag(t *testing.T) {
	for _, tag := range []Tag{{"r1", 0, 5, 0}, {"r", 1<<24 - 1, Everyone, 1<<31 - 1}} {
		text := tag.Text(64)
		if got, err := ParseTag(text); err != nil || got != tag || len(text) < 64 {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, tag)
		}
	}
	for _, text := range []string{"", "hello", "ledger r 1 2", "ledger r 1 2 3", "ledger r x 2 3 ", "ledger r 1 2 -3 ", "ledger r 1 16777216 3 "} {
		if tag, err := ParseTag(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, tag)
		}
	}
}

// FuzzTag compares parsed tags with written ones.
func FuzzTag(f *testing.F) {
	f.Add(Tag{"r1", 3, Everyone, 7}.Text(64))
	f.Add("ledger r 1 2 3 ")
	f.Fuzz(func(t *testing.T, text string) {
		tag, err := ParseTag(text)
		if err != nil {
			return
		}
		if again, err := ParseTag(tag.Text(0)); err != nil || again != tag {
			t.Errorf("%q: %+v, then %+v, %v", text, tag, again, err)
		}
	})
}

// TestModel runs random runs with known faults, and expects each to be counted.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(Config{Users: 4, PrivateMax: 200, GroupMax: 0})
		wanted := map[Kind]int{}
		for range rapid.IntRange(0, 100).Draw(t, "messages") {
			from := User(rapid.IntRange(0, 1).Draw(t, "from"))
			to := User(rapid.IntRange(2, 3).Draw(t, "to"))
			outcome := Outcome(rapid.IntRange(0, int(outcomes)-1).Draw(t, "outcome"))
			arrivals := rapid.IntRange(0, 3).Draw(t, "arrivals")
			want := Want(rapid.IntRange(0, int(Wants)-1).Draw(t, "want"))
			seq, err := l.Begin(from, to, want, 0)
			if err != nil {
				t.Fatal(err)
			}
			early := rapid.Bool().Draw(t, "early") // before its answer
			arrive := func(at int64) {
				for range arrivals {
					l.Arrive(Arrival{Receiver: to, From: from, Tag: Tag{From: from, To: to, Seq: seq}, At: at})
				}
			}
			if early {
				arrive(1)
			}
			l.Answer(from, to, seq, outcome, 1)
			if !early {
				arrive(2)
			}
			wanted[Doubled] += max(0, arrivals-1)
			switch {
			case outcome.promised() && arrivals == 0:
				wanted[Lost]++
			case outcome == Acknowledged && arrivals > 0 && !early:
				wanted[Early]++
			case outcome == Refused && arrivals > 0:
				wanted[RefusedArrived]++
			case outcome == Failed && arrivals > 0:
				wanted[FailedArrived]++
			case outcome == Unknown && arrivals > 0:
				wanted[UnknownArrived]++
			case outcome == Unknown:
				wanted[UnknownNot]++
			}
		}
		v := l.Judge(nil)
		for k := range Kinds {
			if v.Count(k) != wanted[k] {
				t.Errorf("%s: %d, want %d", k, v.Count(k), wanted[k])
			}
		}
	})
}
