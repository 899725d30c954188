package link

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

const secret = "sixteen bytes of it"

var config = Config{Secret: secret, Epoch: 7, WaitingMax: waitingMax}

// listen returns a listener on loopback that the test closes.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type accepted struct {
	conn *Conn
	err  error
}

// accepting accepts one link at l.
func accepting(t testing.TB, l net.Listener, c Config) <-chan accepted {
	t.Helper()
	done := make(chan accepted, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- accepted{nil, err}
			return
		}
		link, err := Accept(context.Background(), conn, c)
		done <- accepted{link, err}
	}()
	return done
}

// connect returns both ends of a link over TCP, or the error of either end.
func connect(t testing.TB, route, server Config) (a, b *Conn, routeErr, serverErr error) {
	t.Helper()
	l := listen(t)
	done := accepting(t, l, server)
	a, routeErr = Dial(t.Context(), l.Addr().String(), route)
	end := <-done
	return a, end.conn, routeErr, end.err
}

// linked is connect that must succeed.
func linked(t testing.TB, waitingMax int) (a, b *Conn) {
	t.Helper()
	c := config
	c.WaitingMax = waitingMax
	a, b, routeErr, serverErr := connect(t, c, c)
	if routeErr != nil || serverErr != nil {
		t.Fatalf("route: %v; server: %v", routeErr, serverErr)
	}
	t.Cleanup(func() {
		for _, end := range []*Conn{a, b} {
			end.Close()
			_ = end.Run(context.Background(), func(*proto.Record) error { return nil })
		}
	})
	return a, b
}

// TestHelloRefused has each refusal: both ends get its number, and the remedy.
func TestHelloRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(route, server *Config)
		want   proto.LinkRefusal
		says   string
	}{
		"secret":     {func(route, _ *Config) { route.Secret = "another" }, proto.LinkRefusedSecret, "link-secret"},
		"no secret":  {func(route, _ *Config) { route.Secret = "" }, proto.LinkRefusedSecret, "link-secret"},
		"dead epoch": {func(route, _ *Config) { route.Epoch = 6 }, proto.LinkRefusedEpoch, "registry"},
		"full": {func(_, server *Config) {
			server.Admit = func() proto.LinkRefusal { return proto.LinkRefusedFull }
		}, proto.LinkRefusedFull, "fewer"},
		"going down": {func(_, server *Config) {
			server.Admit = func() proto.LinkRefusal { return proto.LinkRefusedDrain }
		}, proto.LinkRefusedDrain, "going down"},
	} {
		t.Run(name, func(t *testing.T) {
			route, server := config, config
			test.change(&route, &server)
			_, _, routeErr, serverErr := connect(t, route, server)
			for _, err := range []error{routeErr, serverErr} {
				var refused *RefusedError
				if !errors.As(err, &refused) || refused.Refusal != test.want || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v, want a refusal of %v that says %q", err, test.want, test.says)
				}
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the secret is in %q", err)
				}
			}
		})
	}
}

// TestHelloEmptySecret: if only this machine reaches the port no secret is needed.
func TestHelloEmptySecret(t *testing.T) {
	c := config
	c.Secret = ""
	a, b, routeErr, serverErr := connect(t, c, c)
	if routeErr != nil || serverErr != nil {
		t.Fatalf("route: %v; server: %v", routeErr, serverErr)
	}
	a.Close()
	if err := b.Run(t.Context(), refuse); !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

// TestOverTCP sends records both ways and closes.
func TestOverTCP(t *testing.T) {
	const records = 3000
	a, b := linked(t, 64<<20)
	answering := running(t.Context(), b, func(r *proto.Record) error {
		return b.Send(&proto.Record{Kind: proto.RecordAnswer, ID: r.ID, Verdict: proto.VerdictTaken})
	})
	answers := uint64(0)
	asking := running(t.Context(), a, func(r *proto.Record) error {
		if r.ID != answers {
			t.Errorf("answer %d, want %d", r.ID, answers)
		}
		if answers++; answers == records {
			a.Close()
		}
		return nil
	})
	for id := range uint64(records) {
		send(t, a, text(id, int(id)*7%4096))
	}
	if err := <-asking; !errors.Is(err, ErrClosed) {
		t.Errorf("Run of the asking end: %v", err)
	}
	if err := <-answering; !errors.Is(err, ErrClosed) {
		t.Errorf("Run of the answering end: %v", err)
	}
	if answers != records {
		t.Errorf("%d answers, want %d", answers, records)
	}
}

// raw is a connection whose other end accepts a link.
func raw(t *testing.T) (net.Conn, <-chan accepted) {
	t.Helper()
	l := listen(t)
	done := accepting(t, l, config)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn, done
}

// TestHelloStranger sends bytes that are no hello: the connection ends, and no
// answer depends on the secret.
func TestHelloStranger(t *testing.T) {
	good := proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: 7})
	for name, test := range map[string]struct {
		sends   string
		answers int
		want    error
	}{
		"nothing":          {"", 0, io.EOF},
		"half a hello":     {string(good[:20]), 0, io.ErrUnexpectedEOF},
		"HTTP":             {"GET / HTTP/1.1\r\nHost: somewhere.example.org:11311\r\n\r\n", 0, proto.ErrHello},
		"a hello only":     {string(good), proto.HelloSize, io.EOF},
		"half a proof":     {string(good) + "proof", proto.HelloSize, io.ErrUnexpectedEOF},
		"a proof of zeros": {string(good) + strings.Repeat("\x00", proto.HelloProofSize), proto.HelloSize + proto.HelloProofSize, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conn, done := raw(t)
			if _, err := conn.Write([]byte(test.sends)); err != nil {
				t.Fatal(err)
			}
			_ = conn.(*net.TCPConn).CloseWrite() // fails if the server has ended it already
			answer, _ := io.ReadAll(conn)        // ended by a reset where bytes were left unread
			if len(answer) != test.answers {
				t.Errorf("%d bytes were answered, want %d", len(answer), test.answers)
			}
			end := <-done
			if end.err == nil || test.want != nil && !errors.Is(end.err, test.want) {
				t.Errorf("Accept: %v, want %v", end.err, test.want)
			}
		})
	}
}

// TestHelloKeepsEpoch: a stranger that guesses an epoch learns neither that it is
// wrong nor the right one; it gets only its own value back.
func TestHelloKeepsEpoch(t *testing.T) {
	for _, guess := range []proto.Epoch{0, config.Epoch - 1, config.Epoch} {
		conn, done := raw(t)
		sends := append(proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: guess}), make([]byte, proto.HelloProofSize)...)
		if _, err := conn.Write(sends); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || len(answer) != proto.HelloSize+proto.HelloProofSize {
			t.Fatalf("epoch %d: %d bytes, %v", guess, len(answer), err)
		}
		theirs, err := proto.ParseHello([proto.HelloSize]byte(answer))
		if err != nil || theirs.Refusal != proto.LinkTaken || theirs.Epoch != guess {
			t.Errorf("epoch %d: answer %+v, %v", guess, theirs, err)
		}
		last := proto.ParseHelloProof([proto.HelloProofSize]byte(answer[proto.HelloSize:]))
		if last.Refusal != proto.LinkRefusedSecret || last.Proof != [proto.ProofSize]byte{} {
			t.Errorf("epoch %d: %+v", guess, last)
		}
		<-done
	}
}

// TestHelloOtherVersion: both ends name both versions.
func TestHelloOtherVersion(t *testing.T) {
	conn, done := raw(t)
	if _, err := conn.Write(proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion + 1, Epoch: 7})); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || len(answer) != proto.HelloSize {
		t.Fatalf("%d bytes, %v", len(answer), err)
	}
	theirs, err := proto.ParseHello([proto.HelloSize]byte(answer))
	if err != nil || theirs.Refusal != proto.LinkRefusedVersion || theirs.Version != proto.LinkVersion || theirs.Nonce != [proto.NonceSize]byte{} {
		t.Errorf("answer %+v, %v", theirs, err)
	}
	var refused *RefusedError
	if end := <-done; !errors.As(end.err, &refused) || refused.Theirs != proto.LinkVersion+1 || refused.Ours != proto.LinkVersion {
		t.Errorf("Accept: %v", end.err)
	}
}

// TestHelloFalseServer: a route connects to servers that do not know the secret, or
// are no servers of ours.
func TestHelloFalseServer(t *testing.T) {
	hello := string(proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: 7}))
	zeros := strings.Repeat("\x00", proto.HelloProofSize)
	for name, test := range map[string]struct {
		answers string
		want    proto.LinkRefusal // taken: no refusal
	}{
		"no proof":        {hello + zeros, proto.LinkRefusedSecret},
		"another run":     {string(proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: 8})), proto.LinkRefusedEpoch},
		"another version": {string(proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion + 1})), proto.LinkRefusedVersion},
		"garbage":         {strings.Repeat("SSH-2.0-", 20), proto.LinkTaken},
		"half a hello":    {hello[:30], proto.LinkTaken},
		"silence":         {"", proto.LinkTaken},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, test.answers)
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			}()
			_, err := Dial(t.Context(), l.Addr().String(), config)
			<-served
			var refused *RefusedError
			switch {
			case err == nil:
				t.Error("the link was made")
			case test.want == proto.LinkTaken && errors.As(err, &refused), test.want != proto.LinkTaken && !errors.As(err, &refused):
				t.Errorf("%v", err)
			case refused != nil && refused.Refusal != test.want:
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestHelloDeadline: a stranger who sends nothing, or does not read, is given up
// when the context ends, and by helloMax without one.
func TestHelloDeadline(t *testing.T) {
	for _, side := range []func(context.Context, net.Conn) (*Conn, error){
		func(ctx context.Context, c net.Conn) (*Conn, error) { return Accept(ctx, c, config) },
		func(ctx context.Context, c net.Conn) (*Conn, error) { return establish(ctx, c, config, greet) },
	} {
		ours, theirs := net.Pipe() // takes only what is read
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := side(ctx, ours); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			t.Errorf("%v", err)
		}
		cancel()
		if _, err := theirs.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is still open")
		}
		theirs.Close()
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// FuzzHello sends a server any bytes: it accepts no stranger as a route, and
// answers no more than a hello and a refusal.
func FuzzHello(f *testing.F) {
	good := proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: 7})
	f.Add(good)
	f.Add(append(good, make([]byte, proto.HelloProofSize)...))
	f.Add(proto.AppendHello(nil, proto.Hello{Version: 2}))
	f.Add([]byte("cimL"))
	f.Fuzz(func(t *testing.T, sends []byte) {
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := Accept(context.Background(), ours, config)
			done <- err
		}()
		go func() {
			_, _ = theirs.Write(sends)
			_ = theirs.SetDeadline(time.Now()) // as if it closed: nothing more comes
		}()
		answer := make([]byte, 4096)
		got := 0
		for got < len(answer) {
			n, err := theirs.Read(answer[got:])
			got += n
			if err != nil {
				break
			}
		}
		theirs.Close()
		if err := <-done; err == nil {
			t.Fatalf("%x made a link", sends)
		}
		if got > proto.HelloSize+proto.HelloProofSize {
			t.Fatalf("%d bytes were answered", got)
		}
	})
}
