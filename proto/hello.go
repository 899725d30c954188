package proto

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// A link over TCP begins with four messages of fixed size, all numbers little
// endian. The first 8 bytes of a hello, and its size, are the same in every
// version.
//
//	1  route → server  hello
//	2  server → route  hello, or a refusal in its place
//	3  route → server  proof
//	4  server → route  proof, or a refusal in its place
//
//	hello: magic "cimL" · version u16 · refusal u8 · 0 u8 · epoch u64 · nonce 32 bytes
//	proof: refusal u8 · 0, seven bytes · proof 32 bytes
//
// The epoch is the one that the route expects, and in the answer the server's own.
// Each nonce is random and used once; a proof is an HMAC-SHA256 with the shared
// secret as its key, which package internal/link computes. The route proves itself
// first, so that a stranger who connects to a server gets nothing that depends on
// the secret. After a refusal the connection ends.
const (
	linkMagic = "cimL"
	// NonceSize and ProofSize are the bytes of a nonce and of a proof.
	NonceSize = 32
	ProofSize = 32
	// HelloSize and HelloProofSize are the sizes of the two messages.
	HelloSize      = 4 + 4 + 8 + NonceSize
	HelloProofSize = 8 + ProofSize
)

// LinkRefusal is the reason why a server refuses a link. The number travels: never
// reuse one.
type LinkRefusal uint8

// The refusals.
const (
	LinkTaken          LinkRefusal = 0 // no refusal
	LinkRefusedVersion LinkRefusal = 1 // the ends are of different versions
	LinkRefusedSecret  LinkRefusal = 2 // the ends have different secrets
	LinkRefusedEpoch   LinkRefusal = 3 // the route expects another run of the server
	LinkRefusedFull    LinkRefusal = 4 // the server has all the links that it allows
	LinkRefusedDrain   LinkRefusal = 5 // the server is going down
)

var linkRefusalNames = [...]string{
	LinkTaken: "taken", LinkRefusedVersion: "version", LinkRefusedSecret: "secret",
	LinkRefusedEpoch: "epoch", LinkRefusedFull: "full", LinkRefusedDrain: "draining",
}

// LinkRefusalCount is one more than the largest refusal.
const LinkRefusalCount = len(linkRefusalNames)

// String is the refusal's name in metrics and logs.
func (r LinkRefusal) String() string {
	if int(r) < len(linkRefusalNames) {
		return linkRefusalNames[r]
	}
	return "refusal_" + strconv.Itoa(int(r))
}

// Hello is the first message of either end.
type Hello struct {
	Version uint16
	Refusal LinkRefusal // a server's only
	Epoch   Epoch
	Nonce   [NonceSize]byte
}

// ErrHello is the error for bytes that are no hello of a link: the peer is no cim
// process.
var ErrHello = errors.New("the other end does not speak the link's protocol: this is not the link port of a cim server, or no cim route")

// AppendHello appends h.
func AppendHello(dst []byte, h Hello) []byte {
	dst = append(dst, linkMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, h.Version)
	dst = append(dst, byte(h.Refusal), 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Epoch))
	return append(dst, h.Nonce[:]...)
}

// ParseHello parses a hello. If it has another version, only the version and the
// refusal are set.
func ParseHello(b [HelloSize]byte) (Hello, error) {
	if string(b[:4]) != linkMagic {
		return Hello{}, ErrHello
	}
	h := Hello{Version: binary.LittleEndian.Uint16(b[4:]), Refusal: LinkRefusal(b[6])}
	if h.Version == LinkVersion {
		h.Epoch = Epoch(binary.LittleEndian.Uint64(b[8:]))
		h.Nonce = [NonceSize]byte(b[16:])
	}
	return h, nil
}

// HelloProof is the second message of either end.
type HelloProof struct {
	Refusal LinkRefusal // a server's only
	Proof   [ProofSize]byte
}

// AppendHelloProof appends p.
func AppendHelloProof(dst []byte, p HelloProof) []byte {
	dst = append(dst, byte(p.Refusal), 0, 0, 0, 0, 0, 0, 0)
	return append(dst, p.Proof[:]...)
}

// ParseHelloProof parses what AppendHelloProof writes.
func ParseHelloProof(b [HelloProofSize]byte) HelloProof {
	return HelloProof{Refusal: LinkRefusal(b[0]), Proof: [ProofSize]byte(b[8:])}
}
