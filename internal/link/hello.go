package link

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"cim/proto"
)

const (
	// helloMax bounds the time of a handshake.
	helloMax = 5 * time.Second
	// firstMax bounds the wait for its first message, which a route sends as soon
	// as it is connected.
	firstMax = time.Second
	// proofMax bounds the wait for its proof after that.
	proofMax = time.Second
)

var errSilent = errors.New("its next message did not come in time")

// Config is the configuration of an end of a link over TCP.
type Config struct {
	// Secret is shared by all routes and servers, and never travels. It may be
	// empty if only this machine reaches the port.
	Secret string
	// Epoch names one run of a server: for Dial the expected one, for Accept its
	// own.
	Epoch proto.Epoch
	// WaitingMax bounds the queued bytes, as in Pair.
	WaitingMax int
	// Admit is called by Accept for an authenticated route, and may refuse it. nil
	// admits every route. Accept may still fail after it: then the caller undoes
	// what Admit has counted.
	Admit func() proto.LinkRefusal
}

// RefusedError: one of the ends refused the link.
type RefusedError struct {
	Refusal      proto.LinkRefusal
	Ours, Theirs uint16 // versions of the link's protocol
	Remote       string // address of the other end
}

// Error names the reason and the remedy.
func (e *RefusedError) Error() string {
	return "link: refused, " + e.Refusal.String() + ": " + e.advice()
}

func (e *RefusedError) advice() string {
	switch e.Refusal {
	case proto.LinkRefusedVersion:
		return fmt.Sprintf("%s speaks version %d of the link and this process version %d; run the same release of cim on both",
			e.Remote, e.Theirs, e.Ours)
	case proto.LinkRefusedSecret:
		return e.Remote + " has another secret; give link-secret (CIM_LINK_SECRET, or the file of --config) the same value on all routes and servers"
	case proto.LinkRefusedEpoch:
		return "the expected run of the server is gone and another one has its address; the registry will list the new one"
	case proto.LinkRefusedFull:
		return "the server has all the links that it takes; run fewer routes"
	case proto.LinkRefusedDrain:
		return "the server is going down; the registry will list it when it is back"
	}
	return fmt.Sprintf("%s gives a reason that this process does not know; run the same release of cim on both", e.Remote)
}

// Dial connects to the server at addr and returns the route's end of the link. A
// refusal is a *RefusedError. It takes helloMax at most, or until ctx ends.
func Dial(ctx context.Context, addr string, c Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloMax)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return establish(ctx, conn, c, greet)
}

// Accept does the server's part of the handshake on conn and returns the server's
// end of the link. A refusal is a *RefusedError, and has been sent to the route. It
// takes firstMax and proofMax at most, plus the time to write answers, helloMax in
// all, or until ctx ends. Accept owns conn, and closes it after an error. An
// unauthenticated peer learns nothing but the version of the link's protocol.
func Accept(ctx context.Context, conn net.Conn, c Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloMax)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	silence := time.AfterFunc(firstMax, func() { giveUp(errSilent) })
	defer silence.Stop()
	return establish(ctx, conn, c, func(h *handshake) error {
		h.silence = silence
		return welcome(h)
	})
}

func establish(ctx context.Context, conn net.Conn, c Config, hello func(*handshake) error) (*Conn, error) {
	err := tune(conn)
	if err == nil {
		err = within(ctx, conn, func() error { return hello(&handshake{conn: conn, config: c, epoch: c.Epoch}) })
	}
	if err == nil {
		return newSocket(conn, c.WaitingMax), nil
	}
	_ = conn.Close()
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return nil, err
	}
	return nil, fmt.Errorf("link: hello with %s: %w", conn.RemoteAddr(), err)
}

// within runs do until ctx ends, by conn's deadline, which it removes afterwards.
func within(ctx context.Context, conn net.Conn, do func() error) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() {
		return errors.Join(context.Cause(ctx), err) // its deadline may expire at any time
	}
	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// handshake is the state of one handshake. All messages have a fixed size.
type handshake struct {
	conn   net.Conn
	config Config
	// epoch is the one that the route sends: this end sends no other.
	epoch   proto.Epoch
	silence *time.Timer               // the server's: ends the handshake if the next message is late
	nonces  [2 * proto.NonceSize]byte // the route's, the server's
}

// Each end's proof begins with its own label, so that neither can send back the
// other's.
const (
	routeLabel  = "cim link: the route"
	serverLabel = "cim link: the server"
)

func (h *handshake) proof(label string) [proto.ProofSize]byte {
	mac := hmac.New(sha256.New, []byte(h.config.Secret))
	mac.Write([]byte(label))
	var facts [10]byte
	binary.LittleEndian.PutUint16(facts[:], proto.LinkVersion)
	binary.LittleEndian.PutUint64(facts[2:], uint64(h.epoch))
	mac.Write(facts[:])
	mac.Write(h.nonces[:])
	return [proto.ProofSize]byte(mac.Sum(nil))
}

// greet is the route's part.
func greet(h *handshake) error {
	_, _ = rand.Read(h.nonces[:proto.NonceSize]) // never fails (crypto/rand)
	if err := h.hello(proto.LinkTaken, h.nonces[:proto.NonceSize]); err != nil {
		return err
	}
	theirs, err := h.readHello()
	switch {
	case err != nil:
		return err
	case theirs.Refusal != proto.LinkTaken:
		return h.refused(theirs.Refusal, theirs.Version)
	case theirs.Version != proto.LinkVersion:
		return h.refused(proto.LinkRefusedVersion, theirs.Version)
	case theirs.Epoch != h.config.Epoch:
		return h.refused(proto.LinkRefusedEpoch, theirs.Version)
	}
	copy(h.nonces[proto.NonceSize:], theirs.Nonce[:])
	if err := h.prove(proto.LinkTaken, h.proof(routeLabel)); err != nil {
		return err
	}
	return h.check(serverLabel)
}

// welcome is the server's part. A route must be authenticated before it learns
// whether there is room.
func welcome(h *handshake) error {
	theirs, err := h.readHello()
	if err != nil {
		return err
	}
	h.silence.Reset(proofMax) // if ctx has ended, the handshake ends in any case
	h.epoch = theirs.Epoch
	if theirs.Version != proto.LinkVersion {
		return h.refuseHello(proto.LinkRefusedVersion, theirs.Version)
	}
	copy(h.nonces[:], theirs.Nonce[:])
	_, _ = rand.Read(h.nonces[proto.NonceSize:])
	if err := h.hello(proto.LinkTaken, h.nonces[proto.NonceSize:]); err != nil {
		return err
	}
	refusal := proto.LinkTaken
	if err := h.check(routeLabel); err != nil {
		if refused := (*RefusedError)(nil); !errors.As(err, &refused) {
			return err
		}
		refusal = proto.LinkRefusedSecret
	} else if h.epoch != h.config.Epoch {
		refusal = proto.LinkRefusedEpoch
	} else if h.config.Admit != nil {
		refusal = h.config.Admit()
	}
	h.silence.Stop()
	if refusal != proto.LinkTaken {
		return errors.Join(h.refused(refusal, theirs.Version), h.prove(refusal, [proto.ProofSize]byte{}))
	}
	return h.prove(proto.LinkTaken, h.proof(serverLabel))
}

// check verifies the other end's proof.
func (h *handshake) check(label string) error {
	var b [proto.HelloProofSize]byte
	if _, err := io.ReadFull(h.conn, b[:]); err != nil {
		return err
	}
	theirs, want := proto.ParseHelloProof(b), h.proof(label)
	switch {
	case label == serverLabel && theirs.Refusal != proto.LinkTaken:
		return h.refused(theirs.Refusal, proto.LinkVersion)
	case !hmac.Equal(theirs.Proof[:], want[:]):
		return h.refused(proto.LinkRefusedSecret, proto.LinkVersion)
	}
	return nil
}

func (h *handshake) refused(why proto.LinkRefusal, theirs uint16) error {
	return &RefusedError{Refusal: why, Ours: proto.LinkVersion, Theirs: theirs, Remote: h.conn.RemoteAddr().String()}
}

// refuseHello sends the route the reason, and returns it as an error.
func (h *handshake) refuseHello(why proto.LinkRefusal, theirs uint16) error {
	return errors.Join(h.refused(why, theirs), h.hello(why, make([]byte, proto.NonceSize)))
}

func (h *handshake) hello(why proto.LinkRefusal, nonce []byte) error {
	_, err := h.conn.Write(proto.AppendHello(nil, proto.Hello{
		Version: proto.LinkVersion, Refusal: why, Epoch: h.epoch, Nonce: [proto.NonceSize]byte(nonce),
	}))
	return err
}

func (h *handshake) prove(why proto.LinkRefusal, proof [proto.ProofSize]byte) error {
	_, err := h.conn.Write(proto.AppendHelloProof(nil, proto.HelloProof{Refusal: why, Proof: proof}))
	return err
}

func (h *handshake) readHello() (proto.Hello, error) {
	var b [proto.HelloSize]byte
	if _, err := io.ReadFull(h.conn, b[:]); err != nil {
		return proto.Hello{}, err
	}
	return proto.ParseHello(b)
}
