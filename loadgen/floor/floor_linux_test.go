package floor

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/loadgen"
)

// TestMain checks for leaks. A pool of gnet's never ends, and fasthttp's cleaner of idle
// connections ends late.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// serve runs a floor until the test ends.
func serve(t *testing.T) *Server {
	t.Helper()
	s, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(s.conns)+len(s.byFD) > 0 {
			t.Errorf("%d connections are left", len(s.conns))
		}
		if size := cap(s.stream); size > 4*lagMax {
			t.Errorf("the stream took %d bytes of memory", size)
		}
	})
	return s
}

// TestRun drives the floor for a second: everything arrives, once and in order.
func TestRun(t *testing.T) {
	s := serve(t)
	for _, load := range []loadgen.Config{
		{Mode: loadgen.Group, Windows: []int{1, 16}},
		{Mode: loadgen.Private, Rates: []int{500}},
	} {
		cfg := loadgen.Defaults()
		cfg.System, cfg.Via, cfg.Verify, cfg.Conns = At(s.Addr), loadgen.ViaConn, true, []int{40}
		cfg.Mode, cfg.Windows, cfg.Rates = load.Mode, load.Windows, load.Rates
		cfg.Warmup, cfg.Duration = 0, 300*time.Millisecond
		report, err := loadgen.Run(t.Context(), cfg, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Failed(); err != nil {
			t.Error(err)
		}
		for _, trial := range report.Trials {
			receivers := 1
			if cfg.Mode == loadgen.Group {
				receivers = cfg.Conns[0]
			}
			if trial.Delivered == 0 || trial.Received != trial.Delivered*receivers {
				t.Errorf("%s: %d messages, received %d times, want %d of each", cfg.Mode, trial.Delivered, trial.Received, receivers)
			}
		}
	}
}

// client is one end of a connection to s, named.
func client(t *testing.T, s *Server, name uint32) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sendFrame(t, conn, appendFrame(nil, name, nil))
	hear(t, conn, appendFrame(nil, name, nil))
	return conn
}

func sendFrame(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("heard %.80q, %v, want %.80q", got, err, want)
	}
}

// TestSlow: a receiver that does not read loses its connection once it is lagMax
// behind; the others are served all the while, and what comes after too.
func TestSlow(t *testing.T) {
	s := serve(t)
	sender, slow := client(t, s, 0), client(t, s, 1)
	message := appendFrame(nil, allReceivers, []byte(strings.Repeat("x", frameMax-headSize)))
	const rounds = 8 * lagMax / frameMax // beyond what both sockets' buffers take
	for range rounds {
		sendFrame(t, sender, message)
		hear(t, sender, message)
	}
	if n, err := io.Copy(io.Discard, slow); err == os.ErrDeadlineExceeded || n >= int64(rounds*len(message)) {
		t.Errorf("the slow one was sent %d bytes, %v", n, err)
	}
	sendFrame(t, sender, message)
	hear(t, sender, message)
}

// TestLeave: when a connection ends in the middle of a round, the last connection takes its place,
// which the round has passed, and still gets the missing bytes.
func TestLeave(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	conns := make([]net.Conn, sendsMax+2)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", s.Addr); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		if err := conns[i].SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	s.accept()
	message := appendFrame(nil, allReceivers, []byte("to all"))
	s.forward(s.conns[0], message)
	s.sendOn()
	const leaver = sendsMax / 2
	s.drop(s.conns[leaver])
	conns = slices.Delete(conns, leaver, leaver+1)
	for range 2 {
		for s.left > 0 {
			s.sendOn()
		}
		for _, conn := range conns {
			hear(t, conn, message)
		}
		s.forward(s.conns[0], message)
	}
}

// TestTorn sends a frame byte by byte, and gives a name that has become free
// again.
func TestTorn(t *testing.T) {
	s := serve(t)
	first := client(t, s, 0)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	other := client(t, s, 1) // taken after the end of the first was
	again := client(t, s, 0)
	private := appendFrame(nil, 0, []byte("to one"))
	for i := range private {
		sendFrame(t, other, private[i:i+1])
	}
	hear(t, again, private)
}

// TestStranger: bytes that are no frames end a connection, and only that.
func TestStranger(t *testing.T) {
	s := serve(t)
	honest := client(t, s, 0)
	for name, b := range map[string][]byte{
		"too long":     {0, 1, 0, 0},
		"too short":    {0, 0, 0, 3},
		"a taken name": appendFrame(nil, 0, nil),
		"no such name": appendFrame(nil, receiversMax, nil),
		"named twice":  append(appendFrame(nil, 1, nil), appendFrame(nil, 2, nil)...),
	} {
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		sendFrame(t, conn, b)
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Errorf("%s: the connection stands", name)
		}
		conn.Close()
	}
	sendFrame(t, honest, appendFrame(nil, receiversMax, []byte("to nobody")))
	message := appendFrame(nil, 0, []byte("to itself"))
	sendFrame(t, honest, message)
	hear(t, honest, message)
}

// heard is what a session reported.
type heard struct{ said []string }

func (h *heard) Ready(error)      { h.said = append(h.said, "ready") }
func (h *heard) Text(text []byte) { h.said = append(h.said, string(text)) }

// FuzzFrames: however reads cut a stream, the same frames come of it.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, 7, nil), allReceivers, []byte("hi")), 3)
	f.Add([]byte{0, 0, 0, 3}, 1)
	f.Add([]byte{0, 1, 0, 0, 1}, 2)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		if len(stream) == 0 {
			return
		}
		feed := func(size int) ([]string, error) {
			var partial loadgen.Partial
			h := new(heard)
			for read := range slices.Chunk(stream, size) {
				if err := partial.Feed(read, frameSize, func(frame []byte) error { take(frame, h); return nil }); err != nil {
					return h.said, err
				}
			}
			return h.said, nil
		}
		whole, wholeErr := feed(len(stream))
		torn, tornErr := feed(1 + int(uint(cut)%uint(len(stream))))
		if !slices.Equal(whole, torn) || (wholeErr == nil) != (tornErr == nil) {
			t.Errorf("%q, %v whole; %q, %v torn", whole, wholeErr, torn, tornErr)
		}
	})
}

// TestPair drives the floor with clients as bare as the floor.
func TestPair(t *testing.T) {
	s := serve(t)
	cfg := loadgen.Defaults()
	cfg.Conns, cfg.Windows, cfg.ServerPIDs = []int{2, 40}, []int{1, 2}, []int{os.Getpid()}
	cfg.Warmup, cfg.Duration = 20*time.Millisecond, 100*time.Millisecond
	report, err := Pair(t.Context(), cfg, s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Failed(); err != nil || len(report.Trials) != 4 {
		t.Errorf("%d trials, %v", len(report.Trials), err)
	}
	for _, trial := range report.Trials {
		if trial.Received != trial.Delivered*trial.Conns || trial.DeliveriesPerSecond <= 0 {
			t.Errorf("%+v", trial)
		}
	}
	cfg.Mode = loadgen.Private
	if _, err := Pair(t.Context(), cfg, s.Addr); err == nil {
		t.Error("private messages")
	}
}

// TestPairLost: a message without a receiver is lost.
func TestPairLost(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for range 3 {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			all.Go(func() {
				defer conn.Close()
				_, _ = conn.Write(appendFrame(nil, 0, nil)) // its name is taken
				_, _ = io.Copy(io.Discard, conn)            // and its output is discarded
			})
		}
	})
	cfg := loadgen.Defaults()
	cfg.Conns, cfg.Windows = []int{3}, []int{2}
	cfg.Warmup, cfg.Duration, cfg.Drain = 0, time.Millisecond, 300*time.Millisecond
	report, err := Pair(t.Context(), cfg, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Trials[0]; got.Lost != 6 || report.Failed() == nil {
		t.Errorf("%+v", got)
	}
}

// TestPairWrong: the pair takes nothing but the message that is due.
func TestPairWrong(t *testing.T) {
	text := func(slot, sequence byte) []byte {
		return append([]byte{0, 0, 0, slot, 0, 0, 0, sequence}, "...."...)
	}
	for name, wrong := range map[string][]byte{
		"lost": text(0, 2), "doubled": text(0, 0), "no such slot": text(1, 1), "too short": text(0, 1)[:11],
	} {
		p := &pair{window: 1, text: text(0, 0), got: make([]int, 1), ends: make([]*end, 2)}
		e := &end{next: make([]uint32, 1)}
		if err := p.hear(e, appendFrame(nil, allReceivers, text(0, 0))); err != nil {
			t.Fatal(err)
		}
		if err := p.hear(e, appendFrame(nil, allReceivers, wrong)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
