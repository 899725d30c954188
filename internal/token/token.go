package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// SizeMax bounds a token in bytes before it is parsed.
	SizeMax = 2 << 10
	// LifetimeMax bounds how far exp may be in the future.
	LifetimeMax = 24 * time.Hour
	// Leeway bounds the difference between the clocks of an issuer and a route.
	Leeway = time.Minute
	// RoleService is the role of a token that may act for any user: a backend's.
	RoleService = "service"
	// AudiencePath is the audience of a token in the path of an old client's base
	// URL, and nowhere else. It may last longer, since that URL is configured once.
	AudiencePath = "cim-path"
)

// Fault is the reason why a token was refused. The numbers do not travel.
type Fault uint8

// The faults.
const (
	Malformed    Fault = iota + 1 // no JWT, too large, or a claim of another type
	UnknownKey                    // no kid, or one that is not in the key file
	WrongMethod                   // another algorithm than the key's
	BadSignature                  // not signed with the key
	Expired                       // exp has passed, or is missing
	TooLong                       // exp is further in the future than LifetimeMax
	NotYet                        // nbf or iat is in the future
	WrongAudience
	Unaffordable // an Ed25519 check that Pay refused
	faultCount
)

var faultNames = [faultCount]string{
	Malformed: "malformed", UnknownKey: "unknown_key", WrongMethod: "wrong_algorithm", BadSignature: "bad_signature",
	Expired: "expired", TooLong: "lives_too_long", NotYet: "not_yet_valid", WrongAudience: "wrong_audience",
	Unaffordable: "too_many_checks",
}

// String is the fault's name in metrics and answers.
func (f Fault) String() string {
	if f == 0 || f >= faultCount {
		return "none"
	}
	return faultNames[f]
}

// Error implements error.
func (f Fault) Error() string { return "the token is refused: " + f.String() }

// Claims is the content of a token. Trust it only after Verify has returned it.
type Claims struct {
	User      int64 // the id; 0 if Service
	Service   bool
	Issued    time.Time // zero: absent
	Expires   time.Time
	Audiences []string
}

// Check is what a token must satisfy.
type Check struct {
	// Audience must be one of the token's, unless it is "".
	Audience string
	// LifetimeMax bounds exp, without Leeway.
	LifetimeMax time.Duration
	// Pay is called before an Ed25519 signature is checked, which takes some 85 µs,
	// unless this token was verified before: false refuses the token. nil allows
	// all checks.
	Pay func() bool
}

// jwtClaims is the payload. role is a member of our own.
type jwtClaims struct {
	jwt.RegisteredClaims
	Role string `json:"role,omitempty"`
}

// Verify returns the claims of token if it is signed with a key of k, satisfies
// check, and is valid at now. Any error is a Fault. The signature of a token that
// was verified before is not checked again.
func (k *Keys) Verify(token string, now time.Time, check Check) (Claims, error) {
	if len(token) > SizeMax {
		return Claims{}, Malformed
	}
	name := nameOf(token)
	said := k.verified.get(name)
	if said == nil {
		var err error
		if said, err = k.read(token, check.Pay); err != nil {
			return Claims{}, err
		}
		k.verified.put(name, said)
	}
	return said.check(now, check)
}

// segments decodes the segments of a token.
var segments = jwt.NewParser(jwt.WithStrictDecoding())

// read checks the signature of token (RFC 7515, section 5.2), and decodes its
// claims only after that, so that a flood of invalid tokens costs little. Any error
// is a Fault.
func (k *Keys) read(token string, pay func() bool) (*jwtClaims, error) {
	head, rest, _ := strings.Cut(token, ".")
	body, last, three := strings.Cut(rest, ".")
	// The decoder ignores line breaks, which a path can contain: with them one
	// token would have any number of valid forms, and each would be remembered.
	if !three || strings.ContainsAny(token, "\r\n") {
		return nil, Malformed
	}
	signature, err := segments.DecodeSegment(last)
	if err != nil {
		return nil, Malformed
	}
	key, err := k.keyOf(head)
	switch {
	case err != nil:
		return nil, err
	case key.Algorithm == EdDSA && pay != nil && !pay():
		return nil, Unaffordable
	case !key.hasSigned(token[:len(head)+1+len(body)], signature):
		return nil, BadSignature
	}
	k.heads.put(head, key)
	payload, err := segments.DecodeSegment(body)
	if err != nil {
		return nil, Malformed
	}
	said := new(jwtClaims)
	if err := json.Unmarshal(payload, said); err != nil {
		return nil, Malformed
	}
	return said, nil
}

// keyOf is the key that a header, as written in the token, names. The key
// determines the algorithm; no cryptography has been done yet. Any error is a
// Fault.
func (k *Keys) keyOf(head string) (Key, error) {
	if key, found := k.heads.get(head); found {
		return key, nil
	}
	text, err := segments.DecodeSegment(head)
	if err != nil {
		return Key{}, Malformed
	}
	var header map[string]any // a struct would accept members in other letter cases too
	if json.Unmarshal(text, &header) != nil {
		return Key{}, Malformed
	}
	id, _ := header["kid"].(string)
	key, found := k.byID[id]
	switch {
	case !found:
		return Key{}, UnknownKey
	case header["alg"] != string(key.Algorithm):
		return Key{}, WrongMethod
	case header["crit"] != nil:
		return Key{}, Malformed // RFC 7515, section 4.1.11: an unknown extension
	}
	return key, nil
}

// hasSigned reports whether signature is k's signature of text.
func (k Key) hasSigned(text string, signature []byte) bool {
	if k.Algorithm == HS256 {
		return jwt.SigningMethodHS256.Verify(text, signature, k.secret) == nil
	}
	return jwt.SigningMethodEdDSA.Verify(text, signature, k.public) == nil
}

func (c *jwtClaims) check(now time.Time, check Check) (Claims, error) {
	said := Claims{Audiences: c.Audience, Service: c.Role == RoleService}
	switch {
	case c.ExpiresAt == nil || !now.Before(c.ExpiresAt.Add(Leeway)):
		return Claims{}, Expired
	case c.ExpiresAt.After(now.Add(check.LifetimeMax + Leeway)):
		return Claims{}, TooLong
	case c.NotBefore != nil && c.NotBefore.After(now.Add(Leeway)), c.IssuedAt != nil && c.IssuedAt.After(now.Add(Leeway)):
		return Claims{}, NotYet
	case check.Audience != "" && !slices.Contains(c.Audience, check.Audience):
		return Claims{}, WrongAudience
	case c.Role != "" && !said.Service:
		return Claims{}, Malformed
	}
	said.Expires = c.ExpiresAt.Time
	if c.IssuedAt != nil {
		said.Issued = c.IssuedAt.Time
	}
	if said.Service {
		return said, nil
	}
	id, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || id <= 0 || strconv.FormatInt(id, 10) != c.Subject {
		return Claims{}, Malformed
	}
	said.User = id
	return said, nil
}

// Issue signs a token with claims.
func (k Key) Issue(claims Claims) (string, error) {
	if !k.CanSign() {
		return "", fmt.Errorf("key %q has no private part, so it cannot sign", k.ID)
	}
	said := jwtClaims{RegisteredClaims: jwt.RegisteredClaims{
		ExpiresAt: jwt.NewNumericDate(claims.Expires), Audience: claims.Audiences,
	}}
	if !claims.Issued.IsZero() {
		said.IssuedAt = jwt.NewNumericDate(claims.Issued)
	}
	if claims.Service {
		said.Role = RoleService
	} else {
		said.Subject = strconv.FormatInt(claims.User, 10)
	}
	method, secret := jwt.SigningMethod(jwt.SigningMethodHS256), any(k.secret)
	if k.Algorithm == EdDSA {
		method, secret = jwt.SigningMethodEdDSA, k.private
	}
	t := jwt.NewWithClaims(method, said)
	t.Header["kid"] = k.ID
	signed, err := t.SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign with key %q: %w", k.ID, err)
	}
	return signed, nil
}
