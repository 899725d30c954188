package token

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestASignatureIsCheckedOnce: a backend with an Ed25519 token may ask more often
// than signatures of one address are checked. All else is looked at each time, and
// with other keys the signature too.
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

// TestRefusedTokensAreNotRemembered: what a stranger sends takes no memory.
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

// TestVerifiedBound walks the tokens that are remembered past their bound: what is
// used stays, and what was not for the longest is forgotten.
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
