package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of fault, or of another event that is counted.
type Kind uint8

// The kinds.
const (
	Lost           Kind = iota // answered 9000 or 7000, and never arrived
	Doubled                    // arrived again at the same receiver
	Misdelivered               // arrived at another user, or under another sender's name
	Reordered                  // arrived behind a message that was sent after its answer
	RefusedArrived             // refused, and arrived
	FailedArrived              // failed, and arrived, which is allowed
	UnknownArrived             // not answered, and arrived, which is allowed
	UnknownNot                 // not answered, and did not arrive, which is allowed
	Early                      // answered as received before it arrived
	Kinds
)

var kindNames = [Kinds]string{
	"lost", "doubled", "misdelivered", "reordered", "refused_yet_arrived", "failed_yet_arrived", "unknown_arrived", "unknown_not", "received_too_early",
}

func (k Kind) String() string {
	if k < Kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Fault is a fault of one message at one receiver.
type Fault struct {
	Kind          Kind
	From, To      User
	Seq           int
	Receiver      User
	Want          Want
	Outcome       Outcome
	Due, Answered int64
	Arrived       int64 // time of the faulty arrival; 0: none
}

func (f Fault) String() string {
	to := "everyone"
	if f.To != Everyone {
		to = fmt.Sprint("user ", f.To)
	}
	return fmt.Sprintf("%s: message %d of user %d to %s, want %d, at user %d: due %v, %s at %v, arrived %v", f.Kind, f.Seq, f.From, to, f.Want, f.Receiver,
		seconds(f.Due), f.Outcome, seconds(f.Answered), seconds(f.Arrived))
}

// seconds is a time of the run, for reports.
func seconds(at int64) string { return fmt.Sprintf("%.3fs", float64(at)/1e9) }

const (
	// suspectsMax bounds the suspects of each kind that are kept until the verdict.
	suspectsMax = 1 << 16
	// examplesMax bounds the examples of each kind in a verdict.
	examplesMax = 8
)

// suspects are arrivals that looked like faults.
type suspects struct {
	kept []Fault
	more int // for which there was no room
}

func (s *suspects) add(f Fault) {
	if len(s.kept) < suspectsMax {
		s.kept = append(s.kept, f)
	} else {
		s.more++
	}
}

// Verdict is the result of a run.
type Verdict struct {
	Private, Group int            // messages
	Outcomes       [outcomes]int  // of all messages
	Owed           int            // arrivals that were promised
	Arrived        int            // first arrivals
	Counts         [Kinds]int     // faults that are not excused
	Excused        [Kinds]int     // faults that are excused
	ByWant         [Wants]Part    // the private messages of each want
	Examples       [Kinds][]Fault // of faults that are not excused
	ExcusedSome    [Kinds][]Fault // of faults that are
}

// Part is the part of a verdict for the private messages of one want.
type Part struct {
	Outcomes        [outcomes]int
	Counts, Excused [Kinds]int
}

// Sum is the number of messages.
func (p *Part) Sum() (n int) {
	for _, one := range p.Outcomes {
		n += one
	}
	return n
}

// Count is the number of faults of a kind that are not excused.
func (v *Verdict) Count(k Kind) int { return v.Counts[k] }

// Outcome is the number of messages with this outcome.
func (v *Verdict) Outcome(o Outcome) int { return v.Outcomes[o] }

func (v *Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "private %d group %d (", v.Private, v.Group)
	for o, n := range v.Outcomes {
		if n > 0 {
			fmt.Fprintf(&b, " %s %d", Outcome(o), n)
		}
	}
	fmt.Fprintf(&b, " ) owed %d arrived %d", v.Owed, v.Arrived)
	writeCounts(&b, &v.Counts, &v.Excused)
	for want := Received; want < Wants; want++ {
		if v.ByWant[want].Sum() > 0 {
			return b.String() + v.byWant()
		}
	}
	return b.String()
}

func writeCounts(b *strings.Builder, counts, excused *[Kinds]int) {
	for k := range Kinds {
		if k <= Reordered || counts[k] > 0 {
			fmt.Fprintf(b, " %s %d", k, counts[k])
		}
		if excused[k] > 0 {
			fmt.Fprintf(b, " (and %d excused)", excused[k])
		}
	}
}

// byWant describes the results for each want.
func (v *Verdict) byWant() string {
	var b strings.Builder
	for want := range Wants {
		of := &v.ByWant[want]
		fmt.Fprintf(&b, "; want %d:", want)
		for o, n := range of.Outcomes {
			if n > 0 {
				fmt.Fprintf(&b, " %s %d", Outcome(o), n)
			}
		}
		writeCounts(&b, &of.Counts, &of.Excused)
	}
	return b.String()
}

// Judge closes the ledger. excuse, which may be nil, reports whether a fault is
// within what was promised for this run.
func (l *Ledger) Judge(excuse func(Fault) bool) *Verdict {
	v := &Verdict{Private: l.private, Group: l.group}
	add := func(f Fault) { v.add(f, excuse) }
	for _, of := range l.order {
		for seq := range of.messages {
			of.judge(v, seq, add)
		}
	}
	l.judgeSuspects(v, &l.doubled, Doubled, add)
	l.judgeSuspects(v, &l.reordered, Reordered, add)
	l.judgeSuspects(v, &l.misdelivered, Misdelivered, add)
	return v
}

func (v *Verdict) add(f Fault, excuse func(Fault) bool) {
	counts, examples, byWant := &v.Counts, &v.Examples, &v.ByWant[f.Want].Counts
	if excuse != nil && excuse(f) {
		counts, examples, byWant = &v.Excused, &v.ExcusedSome, &v.ByWant[f.Want].Excused
	}
	counts[f.Kind]++
	if f.To != Everyone {
		byWant[f.Kind]++
	}
	if some := examples[f.Kind]; len(some) < examplesMax && (f.Kind != Reordered || len(some) == 0 || some[len(some)-1].Receiver != f.Receiver) {
		examples[f.Kind] = append(some, f) // one example of a burst of one pair is enough
	}
}

// Trail describes the private messages of one pair in the order of their arrival,
// from around before one of them to around after it, to explain a fault.
func (l *Ledger) Trail(from, to User, seq, around int) string {
	of := l.sequences[pair{from, to}]
	if of == nil || to == Everyone || seq >= len(of.messages) {
		return ""
	}
	order := make([]int, 0, len(of.messages))
	for i := range of.messages {
		if of.messages[i].arrivals > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(of.messages[a].arrived, of.messages[b].arrived) })
	at := max(0, slices.Index(order, seq))
	var b strings.Builder
	for _, i := range order[max(0, at-around):min(len(order), at+around)] {
		m := &of.messages[i]
		fmt.Fprintf(&b, " %d(due %s %s %s)@%s", i, seconds(m.due), m.outcome, seconds(m.answered), seconds(m.arrived))
	}
	return b.String()
}

// judge checks one message, at each of its receivers.
func (of *sequence) judge(v *Verdict, seq int, add func(Fault)) {
	m := &of.messages[seq]
	v.Outcomes[m.outcome]++
	f := Fault{From: of.from, To: of.to, Seq: seq, Want: m.want, Outcome: m.outcome, Due: m.due, Answered: m.answered}
	if of.to != Everyone {
		v.ByWant[m.want].Outcomes[m.outcome]++
		f.Receiver, f.Arrived = of.to, m.arrived
		v.judgeOne(f, m.outcome.promised(), m.arrivals > 0, add)
		return
	}
	for user, mark := range m.marks {
		f.Receiver = User(user)
		owed := mark&markOwed != 0
		if arrived := mark&markCount > 0; owed || arrived {
			v.judgeOne(f, owed && m.outcome.promised(), arrived, add)
		}
	}
}

func (v *Verdict) judgeOne(f Fault, owed, arrived bool, add func(Fault)) {
	if owed {
		v.Owed++
	}
	if arrived {
		v.Arrived++
	}
	known := true
	switch {
	case owed && !arrived:
		f.Kind = Lost
	case f.Outcome == Acknowledged && f.Arrived > f.Answered:
		f.Kind = Early
	case arrived && f.Outcome == Refused:
		f.Kind = RefusedArrived
	case arrived && f.Outcome == Failed:
		f.Kind = FailedArrived
	case arrived && f.Outcome == Unknown:
		f.Kind = UnknownArrived
	case !arrived && f.Outcome == Unknown:
		f.Kind = UnknownNot
	default:
		known = false
	}
	if known {
		add(f)
	}
}

// judgeSuspects checks suspicious arrivals. A message whose answer left open
// whether it arrives may arrive late: it is not reordered.
func (l *Ledger) judgeSuspects(v *Verdict, s *suspects, kind Kind, add func(Fault)) {
	for _, f := range s.kept {
		f.Kind = kind
		if of := l.sequences[pair{f.From, f.To}]; of != nil && f.Seq < len(of.messages) {
			m := &of.messages[f.Seq]
			f.Want, f.Outcome, f.Due, f.Answered = m.want, m.outcome, m.due, m.answered
			if kind == Reordered && !m.outcome.promised() {
				continue
			}
		}
		add(f)
	}
	v.Counts[kind] += s.more
}
