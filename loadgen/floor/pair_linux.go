package floor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cim/loadgen"
)

// Pair drives the floor's server without the load generator's clients: one
// thread, epoll, read and send on this side too. It says how much of a figure
// is the load generator itself. It knows group messages in windows only, and
// measures no latency; a frame that is not the one due next is an error.
func Pair(ctx context.Context, cfg loadgen.Config, address string) (loadgen.Report, error) {
	report := loadgen.Report{
		System: "bare pair", Guarantee: "none", Mode: cfg.Mode, Via: cfg.Via, TextBytes: cfg.Size.Most, Size: cfg.Size.String(),
		Loops: 1, Procs: 1, Seed: cfg.Seed, WarmupS: cfg.Warmup.Seconds(), DurationS: cfg.Duration.Seconds(),
	}
	if cfg.Mode != loadgen.Group || len(cfg.Windows) == 0 {
		return report, errors.New("floor: the bare pair knows mode group and windows only")
	}
	place, err := netip.ParseAddrPort(address)
	if err != nil || !place.Addr().Is4() {
		return report, fmt.Errorf("floor: address %q is not an IPv4 address with a port", address)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, conns := range cfg.Conns {
		for _, window := range cfg.Windows {
			trial, err := runPair(ctx, cfg, place, conns, window)
			if err != nil {
				return report, fmt.Errorf("floor: bare pair, %d connections, window %d: %w", conns, window, err)
			}
			report.Trials = append(report.Trials, trial)
		}
	}
	return report, nil
}

// pair is the clients of one trial. Each of the first ones keeps one message
// under way, until all have it.
type pair struct {
	cfg        loadgen.Config
	poll       int
	ends       []*end
	byFD       map[int32]*end
	window     int
	text       []byte // slot, sequence, padding
	sent       []uint32
	got        []int // receivers of each slot's last message; of an idle one all
	idle       int   // slots that have nothing under way
	stopped    bool  // nothing more is sent
	received   int
	read, send []byte
}

// end is one client.
type end struct {
	fd      int
	partial []byte   // an incomplete frame
	next    []uint32 // of each slot, the sequence due next
	named   bool
}

// textHead is a text's slot and sequence.
const textHead = 8

func runPair(ctx context.Context, cfg loadgen.Config, address netip.AddrPort, conns, window int) (trial loadgen.Trial, err error) {
	p := &pair{
		cfg: cfg, window: window, byFD: make(map[int32]*end), text: []byte(strings.Repeat(".", cfg.Size.Most)),
		sent: make([]uint32, window), got: make([]int, window), read: make([]byte, readSize),
	}
	if p.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return trial, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	began := time.Now()
	for i := range conns {
		if err := p.connect(ctx, address, i); err != nil {
			return trial, err
		}
	}
	trial = loadgen.Trial{Conns: conns, Window: window, LoginS: time.Since(began).Seconds()}
	return trial, p.measure(ctx, &trial)
}

// connect adds a client, and returns when the server has named it. Go's own sockets would notify
// its scheduler of all arrivals.
func (p *pair) connect(ctx context.Context, address netip.AddrPort, i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	e := &end{fd: fd, next: make([]uint32, p.window)}
	p.ends, p.byFD[int32(fd)] = append(p.ends, e), e
	if err := errors.Join(
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}),
		unix.SetNonblock(fd, true),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.EpollCtl(p.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}),
	); err != nil {
		return err
	}
	if _, err := write(fd, appendFrame(nil, uint32(i), nil)); err != nil {
		return err
	}
	if err := p.until(ctx, time.Now().Add(p.cfg.Drain), func() bool { return e.named }); err != nil || e.named {
		return err
	}
	return fmt.Errorf("client %d was not named within %s", i, p.cfg.Drain)
}

// measure runs the load, and fills the trial.
func (p *pair) measure(ctx context.Context, trial *loadgen.Trial) error {
	never := func() bool { return false }
	for slot := range p.window {
		if err := p.sendNext(slot); err != nil {
			return err
		}
	}
	if err := p.until(ctx, time.Now().Add(p.cfg.Warmup), never); err != nil {
		return err
	}
	began, before := time.Now(), p.received
	used, err := p.usage()
	if err != nil {
		return err
	}
	if err := p.until(ctx, began.Add(p.cfg.Duration), never); err != nil {
		return err
	}
	after, err := p.usage()
	if err != nil {
		return err
	}
	trial.MeasuredS, trial.Deliveries = time.Since(began).Seconds(), p.received-before
	trial.DeliveriesPerSecond = float64(trial.Deliveries) / trial.MeasuredS
	if trial.Deliveries > 0 {
		trial.ServerCPUus = (after[0] - used[0]).Seconds() * 1e6 / float64(trial.Deliveries)
		trial.OwnCPUus = (after[1] - used[1]).Seconds() * 1e6 / float64(trial.Deliveries)
	}
	p.stopped = true
	if err := p.until(ctx, time.Now().Add(p.cfg.Drain), func() bool { return p.idle == p.window }); err != nil {
		return err
	}
	for slot, sent := range p.sent {
		trial.Delivered += int(sent)
		trial.Lost += len(p.ends) - p.got[slot]
	}
	trial.Received = p.received
	return nil
}

// usage is the CPU time of the servers and of this process.
func (p *pair) usage() (used [2]time.Duration, err error) {
	for _, pid := range p.cfg.ServerPIDs {
		server, err := loadgen.CPUTime(pid)
		if err != nil {
			return used, err
		}
		used[0] += server
	}
	used[1], err = loadgen.CPUTime(os.Getpid())
	return used, err
}

// until takes what comes, until done or that time.
func (p *pair) until(ctx context.Context, deadline time.Time, done func() bool) error {
	var events [eventsMax]unix.EpollEvent
	for !done() {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := wait(p.poll, events[:], int(min(left, napMax)/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(0, n)] {
			if err := p.take(p.byFD[e.Fd]); err != nil {
				return err
			}
		}
	}
	return nil
}

// napMax bounds a wait, so that the end of the context is seen.
const napMax = 100 * time.Millisecond

func (p *pair) take(e *end) error {
	n, err := read(e.fd, p.read)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil || n == 0 {
		return fmt.Errorf("the server ended a connection: %w", errors.Join(err, io.EOF))
	}
	data := p.read[:n]
	if len(e.partial) > 0 {
		e.partial = append(e.partial, data...)
		data = e.partial
	}
	for {
		size, err := frameSize(data)
		if err != nil {
			return err
		}
		if size == 0 || size > len(data) {
			break
		}
		if err := p.hear(e, data[:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	e.partial = append(e.partial[:0], data...)
	return nil
}

// hear handles one frame, which must be the one that is due.
func (p *pair) hear(e *end, frame []byte) error {
	_, text := parts(frame)
	if len(text) == 0 {
		e.named = true
		return nil
	}
	if len(text) != len(p.text) {
		return fmt.Errorf("a text of %d bytes, want %d", len(text), len(p.text))
	}
	slot, sequence := binary.BigEndian.Uint32(text), binary.BigEndian.Uint32(text[4:])
	if int(slot) >= p.window || sequence != e.next[slot] {
		return fmt.Errorf("message %d of slot %d is not the one that is due", sequence, slot)
	}
	e.next[slot]++
	p.received++
	if p.got[slot]++; p.got[slot] < len(p.ends) {
		return nil
	}
	return p.sendNext(int(slot))
}

// sendNext sends the slot's next message.
func (p *pair) sendNext(slot int) error {
	if p.stopped {
		p.idle++
		return nil
	}
	p.got[slot] = 0
	binary.BigEndian.PutUint32(p.text, uint32(slot))
	binary.BigEndian.PutUint32(p.text[4:textHead], p.sent[slot])
	p.sent[slot]++
	p.send = appendFrame(p.send[:0], allReceivers, p.text)
	n, err := write(p.ends[slot].fd, p.send)
	if err == nil && n < len(p.send) {
		err = errors.New("the socket took part of a frame only")
	}
	return err
}

func (p *pair) close() error {
	errs := []error{unix.Close(p.poll)}
	for _, e := range p.ends {
		errs = append(errs, unix.Close(e.fd))
	}
	return errors.Join(errs...)
}
