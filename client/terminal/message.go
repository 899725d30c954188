package terminal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"cim/client"
	"cim/proto"
)

// connectMax is how long a message waits for a connection that was lost.
const connectMax = 30 * time.Second

// numberLate is the number of a message that is not sent when it is typed.
const numberLate = 0

// send sends one message and shows what became of it.
func (t *terminal) send(ctx context.Context, m message, number int64) {
	receiver, m, err := t.receiver(ctx, m)
	var result client.Result
	if m.id == 0 {
		m.id = proto.TextID(rand.Uint64())
	}
	if err == nil {
		result, err = t.deliver(ctx, receiver, m)
	}
	if err == nil {
		err = result.Err()
	}
	switch {
	case err != nil:
		t.showFailed(m, number, err)
	case result.Outcome == proto.OutcomeStored:
		t.history.sent(m, "")
		t.display.show(t.style.paint(yellow, "~ to "+t.which(m, number)+": not received yet, kept for later"))
	default:
		t.history.sent(m, "")
		what, online := result.Outcome.String(), ""
		if n, known := result.Receivers.Count(); known && m.receiver == "" {
			online = fmt.Sprintf(" to %d online", n)
		}
		t.display.show(t.style.paint(dim, "+ to "+t.which(m, number)+": "+what+online))
	}
}

// which names a message's receiver, and its beginning where the outcome is not shown right below
// it: on a terminal other lines may have been typed meanwhile.
func (t *terminal) which(m message, number int64) string {
	if !t.interactive || number == t.newest.Load() {
		return m.to()
	}
	const shownMax = 20 // characters
	shown := []rune(emojified(Harmless(m.text)))
	if len(shown) > shownMax {
		shown = append(shown[:shownMax], '…')
	}
	return fmt.Sprintf("%s, “%s”", m.to(), string(shown))
}

// receiver is the id of a message's receiver, 0 for all, and the message in the form for that
// receiver.
func (t *terminal) receiver(ctx context.Context, m message) (proto.UserID, message, error) {
	if m.receiver == "" {
		return 0, m, nil
	}
	if id, isID := parseID(m.receiver); isID {
		return id, m, nil
	}
	if id, known := t.people.id(m.receiver); known {
		return id, m, m.check()
	}
	user, err := t.network.Find(ctx, m.receiver)
	switch {
	case err == nil:
		t.people.add(user)
		err = m.check()
	case m.whole != "" && errors.Is(err, client.ErrNoSuchUser):
		return t.everyone(ctx, m)
	}
	return user.ID, m, err
}

// everyone is the receiver of a line whose beginning is no user's name, unless it nearly is one, or
// is one with more in front or behind, as in bob:;;text.
func (t *terminal) everyone(ctx context.Context, m message) (proto.UserID, message, error) {
	if similar := t.people.similar(m.receiver); similar != "" {
		return 0, m, &mistyped{similar}
	}
	if name := strings.TrimFunc(m.receiver, func(r rune) bool { return !looksLikeName(string(r)) }); looksLikeName(name) {
		switch user, err := t.network.Find(ctx, name); {
		case err == nil:
			return 0, m, &mistyped{user.Name}
		case !errors.Is(err, client.ErrNoSuchUser):
			return 0, m, err
		}
	}
	return 0, message{text: m.whole}, nil
}

// errNoText refuses a line that ends with ;; behind a name which is found to be
// a user's only when it is sent.
var errNoText = errors.New("there is no text behind ;;")

func (m message) check() error {
	if m.text == "" {
		return errNoText
	}
	return nil
}

// mistyped is the error of a receiver that is no name but nearly another user's: the text was
// probably not meant for all.
type mistyped struct{ similar string }

func (e *mistyped) Error() string { return "no user has this name; did you mean " + e.similar + "?" }

// deliver waits for a connection if there is none, for at most connectMax.
func (t *terminal) deliver(ctx context.Context, receiver proto.UserID, m message) (client.Result, error) {
	waiting, cancel := context.WithTimeout(ctx, connectMax)
	defer cancel()
	for after := 0; ; {
		count, up := t.connection.wait(waiting, after)
		if !up {
			return client.Result{}, client.ErrNotConnected
		}
		result, err := t.sendNow(ctx, receiver, m)
		if !errors.Is(err, client.ErrNotConnected) {
			return result, err
		}
		after = count // this connection is lost, which was not reported yet
	}
}

func (t *terminal) sendNow(ctx context.Context, receiver proto.UserID, m message) (client.Result, error) {
	if receiver == 0 {
		return t.network.SendGroup(ctx, m.text)
	}
	return t.network.SendWith(ctx, receiver, m.text, client.SendOptions{ID: m.id})
}

// showFailed shows a message that was not sent, or not for certain, and keeps it for :again where
// that can help.
func (t *terminal) showFailed(m message, number int64, err error) {
	t.undone++
	why, again := failure(m, err)
	if errors.Is(err, client.ErrUnknown) {
		t.history.sent(m, " (not certain)")
	}
	if again {
		why += t.keepFailed(m)
	}
	t.display.show(t.fault("to %s: %s", t.which(m, number), why))
}

// failure says what happened, and whether it may go better another time.
func failure(m message, err error) (why string, again bool) {
	var refusal *client.Refusal
	var close *mistyped
	switch {
	case errors.Is(err, context.Canceled):
		return "this chat ended before it was known what became of the message", false
	case errors.Is(err, client.ErrUnknown):
		return "not certain: the message may have arrived or not", true
	case errors.Is(err, client.ErrNotConnected):
		return "not sent, there is no connection", true
	case errors.Is(err, client.ErrBusy):
		return "not sent, the server is busy", true
	case errors.Is(err, client.ErrClosed):
		return "not sent, the session has ended", false
	case errors.Is(err, client.ErrNoSuchUser):
		if _, isID := parseID(m.receiver); isID {
			return "not sent: no such user", false
		}
		return "not sent: no user has this name", false
	case errors.As(err, &close), errors.Is(err, errNoText):
		return "not sent: " + Harmless(err.Error()), false
	case errors.As(err, &refusal) && refusal.Code == proto.CodeOfflineStore:
		return "not sent: not online, and not kept for later: too many messages may wait there already", true
	}
	return "not sent: " + reason(err), true
}

// keepFailed returns the word on how to send it again.
func (t *terminal) keepFailed(m message) string {
	if len(t.failed) == waitingMax {
		return "; too many have failed to keep it for :again"
	}
	t.failed = append(t.failed, m)
	return "; :again sends it again"
}

// again sends the failed messages, the oldest first.
func (t *terminal) again(ctx context.Context) {
	failed := t.failed
	t.failed = nil
	if len(failed) == 0 {
		t.display.show("nothing has failed")
	}
	for _, m := range failed {
		t.undone--
		t.send(ctx, m, numberLate)
	}
}

// leftUndone is the error for a script, which does not read the lines.
func (t *terminal) leftUndone() error {
	if t.interactive || t.undone == 0 {
		return nil
	}
	return fmt.Errorf("lines that were not done, or not for certain: %d", t.undone)
}

// delay has m sent in some seconds, once there is a connection then.
func (t *terminal) delay(ctx context.Context, m message, seconds int) {
	if t.delayed == delayedMax {
		t.display.show(t.fault("not sent: %d messages are delayed already", delayedMax))
		return
	}
	t.delayed++
	t.display.show(fmt.Sprintf("goes to %s in %d s", m.to(), seconds))
	go func() {
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		t.connection.wait(ctx, 0)
		select {
		case t.due <- m:
		case <-ctx.Done():
		}
	}()
}
