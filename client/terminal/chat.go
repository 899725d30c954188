package terminal

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cim/client"
	"cim/proto"
)

const (
	// waitingMax bounds the messages on a terminal that wait for those before
	// them; elsewhere none does, since the next line is not read before.
	waitingMax = 256
	// askingMax bounds the questions that wait for the ones before them.
	askingMax = 16
	// delayedMax bounds the messages of :delay.
	delayedMax = 100
	// namesAge is how old the names that Tab completes may be before the route
	// is asked again.
	namesAge = 10 * time.Second
)

// network is what a chat needs of its client.
type network interface {
	SendWith(ctx context.Context, receiver proto.UserID, text string, options client.SendOptions) (client.Result, error)
	SendGroup(ctx context.Context, text string) (client.Result, error)
	Online(ctx context.Context) ([]proto.User, error)
	Find(ctx context.Context, name string) (proto.User, error)
	User() proto.User
	Server() client.ServerInfo
	Done() <-chan struct{}
}

// terminal does what the lines of the input say.
type terminal struct {
	routes      []string
	network     network
	display     display
	style       style
	history     *history
	interactive bool          // a person sits at it and keeps typing
	started     chan struct{} // closed when all of the above is set, or never will be
	early       early

	connection connection
	people     *people
	asked      atomic.Int64 // when the names that Tab completes were last asked for, in Unix nanoseconds

	newest atomic.Int64 // the number of the message that was typed last

	// Of chat.
	echo    bool         // texts are echoed instead of sent
	doubted string       // the line before, if it was asked about; "": none was
	delayed int          // messages of :delay that are not due; <= delayedMax
	due     chan message // those that are
	sending chan job     // <= waitingMax
	asking  chan job     // <= askingMax

	// Owned by the sender, then by Run.
	failed []message // <= waitingMax
	undone int       // lines that were not done, or not for certain, and not sent again
}

// job is something that waits for others.
type job func(ctx context.Context)

func newTerminal(config Config) *terminal {
	return &terminal{
		routes: config.Client.Routes, started: make(chan struct{}), people: newPeople(), history: &history{}, due: make(chan message),
		sending: make(chan job, waitingMax), asking: make(chan job, askingMax),
	}
}

// chat takes lines until there are no more, or :q!.
func (t *terminal) chat(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines, ended := make(chan string), make(chan error, 1)
	go func() { ended <- t.display.read(ctx, lines) }()
	t.display.show(fmt.Sprintf("logged in as %s, :all shows the commands", t.style.user(t.network.User())))
	t.begin()
	defer t.leave(t.startJobs(ctx), cancel)
	if t.interactive {
		t.names() // so that the first Tab knows some
	}
	var err error
	for reading := true; reading || t.delayed > 0 && !t.interactive; {
		select {
		case text := <-lines:
			if !t.do(ctx, text) {
				return nil
			}
		case m := <-t.due:
			t.delayed--
			t.queueMessage(ctx, m, numberLate)
		case err = <-ended:
			ended, reading = nil, false
		case <-t.network.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// startJobs starts the goroutines for the jobs. The channel is closed when all have ended: with ctx,
// or once nothing is sent any more.
func (t *terminal) startJobs(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { defer cancel(); work(ctx, t.sending) })
	working.Go(func() { work(ctx, t.asking) })
	go func() {
		working.Wait()
		close(ended)
	}()
	return ended
}

// work does jobs in their order until there are no more, or ctx ends.
func work(ctx context.Context, jobs <-chan job) {
	for ctx.Err() == nil {
		select {
		case j, more := <-jobs:
			if !more {
				return
			}
			j(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// leave gives messages that are being sent a moment, and shows what was not sent.
func (t *terminal) leave(ended <-chan struct{}, cancel context.CancelFunc) {
	close(t.sending)
	moment := time.AfterFunc(goodbyeMax, cancel)
	defer moment.Stop()
	select {
	case <-ended:
	case <-t.network.Done():
	}
	cancel()
	<-ended
	if lost := len(t.sending) + t.delayed; lost > 0 {
		t.undone += lost
		t.display.show(t.fault("%d messages were not sent", lost))
	}
}

// queue runs j in its turn. Without a terminal it runs at once, so that the lines' answers keep
// their order, and each line is finished before the next one is read. refused is shown if too many
// jobs wait.
func (t *terminal) queue(ctx context.Context, jobs chan<- job, refused string, j job) {
	if !t.interactive {
		j(ctx)
		return
	}
	select {
	case jobs <- j:
	default:
		t.display.show(t.fault("%s, %d others wait already; try again later", refused, cap(jobs)))
	}
}

const notDone = "not done"

func (t *terminal) queueMessage(ctx context.Context, m message, number int64) {
	t.queue(ctx, t.sending, "to "+m.to()+": not sent", func(ctx context.Context) { t.send(ctx, m, number) })
}

// do handles one line, and reports whether to go on.
func (t *terminal) do(ctx context.Context, text string) bool {
	if t.interactive {
		t.history.typed(text)
	}
	l := parseLine(text)
	if t.asks(l, text) {
		return true
	}
	switch l.kind {
	case lineEmpty:
	case lineQuit:
		return false
	case lineMessage, lineAgain, lineDelay:
		t.doMessage(ctx, l)
	case lineOnline:
		t.queue(ctx, t.asking, notDone, func(ctx context.Context) { t.online(ctx, l.text) })
	case lineSearch:
		t.queue(ctx, t.asking, notDone, func(ctx context.Context) { t.search(ctx, l.text) })
	default:
		t.display.show(t.answer(l))
		if l.kind == lineWrong || l.kind == lineUnknown {
			t.leftOut(1)
		}
	}
	return true
}

// asks reports whether a line to all that is more likely a command of another program must be typed
// once more, and says so.
func (t *terminal) asks(l line, text string) bool {
	again := text == t.doubted
	t.doubted = ""
	if l.kind != lineMessage || l.message.receiver != "" || t.echo || !elsewhereCommand(text) {
		return false
	}
	if again {
		t.leftOut(-1)
		return false
	}
	t.doubted = text
	t.leftOut(1)
	t.display.show(t.fault("not sent: %q would go to everyone: type it again to send it; :q! quits, :all shows the commands", Harmless(text)))
	return true
}

// leftOut counts lines that were not done, where no person has seen that.
func (t *terminal) leftOut(lines int) {
	if !t.interactive {
		t.undone += lines
	}
}

func (t *terminal) doMessage(ctx context.Context, l line) {
	switch {
	case l.kind == lineAgain:
		t.queue(ctx, t.sending, notDone, t.again)
	case l.kind == lineDelay:
		t.delay(ctx, l.message, l.number)
	case t.echo:
		t.display.show("AI: " + echoed(l.message.text))
	default:
		t.queueMessage(ctx, l.message, t.newest.Add(1))
	}
}

// answer is the reply to lines that need no other process.
func (t *terminal) answer(l line) string {
	switch l.kind {
	case lineEcho:
		t.echo = true
		return "AI 上线了，有什么想问我的吗？"
	case lineNoEcho:
		t.echo = false
		return "AI 下线了，下次再聊！"
	case lineEmoji:
		return emojiShown(l.number)
	case lineInfo:
		return t.info()
	case lineUnknown:
		return fmt.Sprintf("unknown command %s\n%s", Harmless(l.text), commands)
	case lineWrong:
		return t.style.paint(red, l.text)
	}
	return commands
}

func (t *terminal) info() string {
	state := "connected"
	if !t.connection.isUp() {
		state = "not connected"
	}
	folder := t.history.folder
	if folder == "" {
		folder = "none"
	}
	user := t.network.User()
	return fmt.Sprintf("name     %s\nid       %d\nroute    %s\nserver   %s (%s)\nhistory  %s", Harmless(user.Name), user.ID,
		strings.Join(t.routes, ", "), t.network.Server().Address(), state, folder)
}

// online shows the connected users whose name begins with prefix.
func (t *terminal) online(ctx context.Context, prefix string) {
	users, err := t.network.Online(ctx)
	if err != nil {
		t.display.show(t.fault("who is online is not known: %s", reason(err)))
		return
	}
	var lines []string
	for _, u := range users {
		t.people.add(u)
		if strings.HasPrefix(proto.NormalName(u.Name), proto.NormalName(prefix)) {
			lines = append(lines, "  "+t.style.user(u))
		}
	}
	count := fmt.Sprintf("%d online", len(users))
	if prefix != "" {
		count = fmt.Sprintf("%d of %d online are called %s...", len(lines), len(users), Harmless(prefix))
	}
	t.display.show(strings.Join(append([]string{count}, lines...), "\n"))
}

func (t *terminal) search(ctx context.Context, keyword string) {
	if t.history.folder == "" {
		t.display.show(t.fault("there is no history folder to search"))
		return
	}
	f, err := search(ctx, t.history.folder, keyword)
	if err != nil {
		t.display.show(t.fault("the history was not searched: %s", Harmless(err.Error())))
		return
	}
	lines := make([]string, 0, len(f.lines)+1)
	if older := f.total - len(f.lines); older > 0 {
		lines = append(lines, t.style.paint(dim, fmt.Sprintf("%d older ones are not shown", older)))
	}
	for _, l := range f.lines {
		lines = append(lines, highlighted(Harmless(l), keyword, t.style.hit))
	}
	lines = append(lines, fmt.Sprintf("%d found", f.total))
	t.display.show(strings.Join(lines, "\n"))
}

// names are those that Tab completes. The route is asked for more of them in
// the background, for the next time.
func (t *terminal) names() []string {
	now, last := time.Now().UnixNano(), t.asked.Load()
	if now-last > int64(namesAge) && t.asked.CompareAndSwap(last, now) {
		select {
		case t.asking <- t.learnNames:
		default: // it is asked another time
		}
	}
	return t.people.list()
}

// learnNames asks for the connected users. A fault shows when the user asks for the list.
func (t *terminal) learnNames(ctx context.Context) {
	users, err := t.network.Online(ctx)
	if err != nil {
		return
	}
	for _, u := range users {
		t.people.add(u)
	}
}

// fault is a line for a fault.
func (t *terminal) fault(format string, args ...any) string {
	return t.style.paint(red, "! "+fmt.Sprintf(format, args...))
}
