// Package token issues and verifies the bearer tokens of the route's HTTP API: JSON
// Web Tokens (RFC 7519) that name a user or a service.
//
// A key has one algorithm: HS256 (RFC 7518, section 3.2) or EdDSA with Ed25519 (RFC
// 8037). A token names its key by kid, and is refused before any cryptography if it
// has no kid, an unknown one, or another algorithm.
//
// The package reads no clock: each call has the time as an argument. It logs
// nothing, and its errors never quote a token or a key.
package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Algorithm is the JWS algorithm of a key, as in the member alg.
type Algorithm string

// The algorithms.
const (
	HS256 Algorithm = "HS256"
	EdDSA Algorithm = "EdDSA"
)

const (
	// KeyFileMax bounds a key file in bytes.
	KeyFileMax = 64 << 10
	// KeysMax bounds the keys of a file: enough to rotate the keys of several
	// issuers.
	KeysMax = 64
	// SecretMin is the least length of an HS256 secret in bytes (RFC 7518, section
	// 3.2: as long as the hash).
	SecretMin = 32
	// KeyIDMax bounds a kid in bytes.
	KeyIDMax = 64
)

// Key is one key of a set.
type Key struct {
	ID        string
	Algorithm Algorithm

	secret  []byte             // HS256
	public  ed25519.PublicKey  // EdDSA
	private ed25519.PrivateKey // EdDSA; nil: the key verifies only
}

// CanSign reports whether k can issue tokens: an Ed25519 key may be the public half
// alone.
func (k Key) CanSign() bool { return k.Algorithm == HS256 || k.private != nil }

// Keys is an immutable set of keys by their ID. Any goroutine may use it.
type Keys struct {
	byID     map[string]Key
	order    []string  // in the order of the file
	verified *verified // tokens verified with these keys; with other keys they are verified again
	heads    heads
}

// Signing returns the key for new tokens: the first of the file that can sign.
func (k *Keys) Signing() (Key, bool) {
	for _, id := range k.order {
		if key := k.byID[id]; key.CanSign() {
			return key, true
		}
	}
	return Key{}, false
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.order) }

// jwk is a JSON Web Key (RFC 7517; RFC 8037 for OKP).
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv,omitempty"`
	Secret    string `json:"k,omitempty"`
	Public    string `json:"x,omitempty"`
	Private   string `json:"d,omitempty"`
}

// jwkSet is a JSON Web Key Set (RFC 7517, section 5).
type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// ParseKeys parses a JSON Web Key Set. An error names the key and the invalid
// member, and quotes no secret.
func ParseKeys(file []byte) (*Keys, error) {
	if len(file) > KeyFileMax {
		return nil, fmt.Errorf("the key file has more than %d bytes", KeyFileMax)
	}
	var set jwkSet
	if err := json.Unmarshal(file, &set); err != nil {
		return nil, errors.New(`the key file is not a JSON Web Key Set: want {"keys":[...]}; cim token keygen writes one`)
	}
	if n := len(set.Keys); n == 0 || n > KeysMax {
		return nil, fmt.Errorf("the key file has %d keys, want 1 to %d", n, KeysMax)
	}
	keys := &Keys{byID: map[string]Key{}, verified: newVerified()}
	for i, one := range set.Keys {
		key, err := one.key()
		if err != nil {
			return nil, fmt.Errorf("key %d of the key file: %w", i+1, err)
		}
		if _, twice := keys.byID[key.ID]; twice {
			return nil, fmt.Errorf("key %d of the key file: kid %q stands twice", i+1, key.ID)
		}
		keys.byID[key.ID] = key
		keys.order = append(keys.order, key.ID)
	}
	return keys, nil
}

func (j jwk) key() (Key, error) {
	if j.ID == "" || len(j.ID) > KeyIDMax {
		return Key{}, fmt.Errorf("kid has %d bytes, want 1 to %d", len(j.ID), KeyIDMax)
	}
	switch {
	case j.Type == "oct" && Algorithm(j.Algorithm) == HS256:
		return j.secretKey()
	case j.Type == "OKP" && j.Curve == "Ed25519" && Algorithm(j.Algorithm) == EdDSA:
		return j.edKey()
	}
	return Key{}, fmt.Errorf("kty %q, alg %q, crv %q: want oct with HS256, or OKP with EdDSA and Ed25519", j.Type, j.Algorithm, j.Curve)
}

func (j jwk) secretKey() (Key, error) {
	secret, err := decode("k", j.Secret)
	if err != nil {
		return Key{}, err
	}
	if len(secret) < SecretMin {
		return Key{}, fmt.Errorf("k has %d bytes, want at least %d", len(secret), SecretMin)
	}
	return Key{ID: j.ID, Algorithm: HS256, secret: secret}, nil
}

func (j jwk) edKey() (Key, error) {
	public, err := decode("x", j.Public)
	if err != nil {
		return Key{}, err
	}
	if len(public) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("x has %d bytes, want %d", len(public), ed25519.PublicKeySize)
	}
	key := Key{ID: j.ID, Algorithm: EdDSA, public: public}
	if j.Private == "" {
		return key, nil
	}
	seed, err := decode("d", j.Private)
	if err != nil {
		return Key{}, err
	}
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("d has %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	key.private = ed25519.NewKeyFromSeed(seed)
	if !key.public.Equal(key.private.Public()) {
		return Key{}, errors.New("x is not the public key of d")
	}
	return key, nil
}

func decode(member, text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url without padding", member)
	}
	return b, nil
}

// Generate returns a key file with one new key.
func Generate(id string, algorithm Algorithm) ([]byte, error) {
	one := jwk{ID: id, Algorithm: string(algorithm)}
	switch algorithm {
	case HS256:
		secret := make([]byte, SecretMin)
		rand.Read(secret) // ends the process rather than fail
		one.Type, one.Secret = "oct", base64.RawURLEncoding.EncodeToString(secret)
	case EdDSA:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generate a key: %w", err)
		}
		one.Type, one.Curve = "OKP", "Ed25519"
		one.Public = base64.RawURLEncoding.EncodeToString(public)
		one.Private = base64.RawURLEncoding.EncodeToString(private.Seed())
	default:
		return nil, fmt.Errorf("algorithm %q, want %s or %s", algorithm, HS256, EdDSA)
	}
	if _, err := one.key(); err != nil {
		return nil, err
	}
	file, err := json.MarshalIndent(jwkSet{Keys: []jwk{one}}, "", "  ")
	return append(file, '\n'), err
}
