package token

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestASignatureIsCheckedOnce: a backend with an Ed25519 token may send more
// requests than signatures of one address are checked. All else is checked each
// time, and with other keys the signature too.
func TestASignatureIsCheckedOnce(t *testing.T) {
	keys, _ := generated(t, "k", EdDSA)
	token := issued(t, keys, Claims{User: 7, Expires: noon.Add(time.Hour), Audiences: []string{"cim"}})
	paid := 0
	check := Check{LifetimeMax: LifetimeMax, Pay: func() bool { paid++; return paid == 1 }}
	for range 3 {
		if got, err := keys.Verify(token, noon, check); err != nil || got.User != 7 {
			t.Fatalf("%+v, %v after %d checks", got, err, paid)
		}
	}
	if paid != 1 {
		t.Errorf("%d signatures were checked, want 1", paid)
	}
	if _, err := keys.Verify(token, noon.Add(time.Hour+Leeway), check); !errors.Is(err, Expired) {
		t.Errorf("when it has expired: %v", err)
	}
	another := check
	another.Audience = "other"
	if _, err := keys.Verify(token, noon, another); !errors.Is(err, WrongAudience) {
		t.Errorf("for another audience: %v", err)
	}
	signed, _, _ := strings.Cut(token, ".")
	if _, err := keys.Verify(signed+token[len(signed):len(token)-1], noon, check); err == nil {
		t.Error("a token cut by a byte was taken for the one that was right")
	}
	other, _ := generated(t, "k", EdDSA)
	if _, err := other.Verify(token, noon, day); !errors.Is(err, BadSignature) {
		t.Errorf("with another key of the same kid: %v", err)
	}
}

// TestATokenHasOneForm: a token with line breaks in its signature, which decoders
// ignore, is refused, so it cannot be remembered in many forms.
func TestATokenHasOneForm(t *testing.T) {
	for _, algorithm := range []Algorithm{HS256, EdDSA} {
		keys, _ := generated(t, "k", algorithm)
		token := issued(t, keys, Claims{User: 7, Expires: noon.Add(time.Hour)})
		if _, err := keys.Verify(token, noon, day); err != nil {
			t.Fatal(err)
		}
		middle := len(token) - 10
		for _, form := range []string{token + "\n", token + "\r\n", token[:middle] + "\n" + token[middle:], "\n" + token} {
			if _, err := keys.Verify(form, noon, day); !errors.Is(err, Malformed) {
				t.Errorf("%v, %q: %v, want %v", algorithm, form, err, Malformed)
			}
		}
		if n := keys.verified.len(); n != 1 {
			t.Errorf("%v: %d tokens are remembered, want 1", algorithm, n)
		}
	}
}

// TestRefusedTokensAreNotRemembered: invalid tokens take no memory.
func TestRefusedTokensAreNotRemembered(t *testing.T) {
	keys, _ := generated(t, "k", HS256)
	other, _ := generated(t, "k", HS256)
	for user := range int64(10) {
		if _, err := keys.Verify(issued(t, other, Claims{User: user + 1, Expires: noon.Add(time.Hour)}), noon, day); !errors.Is(err, BadSignature) {
			t.Fatal(err)
		}
	}
	if n := keys.verified.len(); n != 0 {
		t.Errorf("%d tokens are remembered, want 0", n)
	}
}

// TestVerifiedBound remembers tokens past the bound: a token in use stays, and the
// one unused for the longest time is dropped.
func TestVerifiedBound(t *testing.T) {
	v, used := newVerified(), nameOf("used")
	v.put(used, &jwtClaims{Role: "used"})
	for i := range 3 * verifiedMax {
		v.put(nameOf(fmt.Sprint(i)), &jwtClaims{})
		if said := v.get(used); said == nil || said.Role != "used" {
			t.Fatalf("the token in use is forgotten after %d others", i)
		}
	}
	if n := v.len(); n > verifiedMax {
		t.Errorf("%d tokens are remembered, want at most %d", n, verifiedMax)
	}
	if v.get(nameOf("0")) != nil {
		t.Error("the first token is remembered still")
	}
}

// TestHeadersOfRightTokens: a remembered header proves nothing, no header of an
// invalid token is remembered, and at most headsMax in all.
func TestHeadersOfRightTokens(t *testing.T) {
	keys, _ := generated(t, "k", HS256)
	other, _ := generated(t, "k", HS256)
	claims := Claims{User: 7, Expires: noon.Add(time.Hour)}
	wrong := issued(t, other, claims)
	for _, c := range []struct {
		token string
		want  error
		heads int
	}{
		{wrong, BadSignature, 0},
		{issued(t, keys, claims), nil, 1},
		{wrong, BadSignature, 1},
		{wrong[:len(wrong)-1], Malformed, 1},
	} {
		if _, err := keys.Verify(c.token, noon, day); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
		if n := len(keys.heads.keys); n != c.heads {
			t.Errorf("%d headers are remembered, want %d", n, c.heads)
		}
	}
	key, _ := keys.Signing()
	for i := range 2 * headsMax {
		token := forged(fmt.Sprintf(`{"alg":"HS256","kid":"k","n":%d}`, i), `{"sub":"7","exp":1767358800}`, func(text string) string {
			signature, err := hmacOf(key, text)
			if err != nil {
				t.Fatal(err)
			}
			return signature
		})
		if _, err := keys.Verify(token, noon, day); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(keys.heads.keys); n != headsMax {
		t.Errorf("%d headers are remembered, want %d", n, headsMax)
	}
}
