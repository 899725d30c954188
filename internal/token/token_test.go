package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of all tests.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

var day = Check{LifetimeMax: LifetimeMax}

func generated(t testing.TB, id string, algorithm Algorithm) (*Keys, []byte) {
	t.Helper()
	file, err := Generate(id, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	return keys, file
}

func issued(t testing.TB, keys *Keys, claims Claims) string {
	t.Helper()
	key, ok := keys.Signing()
	if !ok {
		t.Fatal("no key can sign")
	}
	token, err := key.Issue(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forged is a token with any header and payload, signed by sign.
func forged(header, payload string, sign func(text string) string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return text + "." + sign(text)
}

func unsigned(string) string { return "" }

// TestWhatIsIssuedIsVerified: both algorithms, both kinds of subject.
func TestWhatIsIssuedIsVerified(t *testing.T) {
	for _, algorithm := range []Algorithm{HS256, EdDSA} {
		keys, _ := generated(t, "k1", algorithm)
		for _, want := range []Claims{
			{User: 1795400000000, Issued: noon, Expires: noon.Add(time.Hour)},
			{Service: true, Expires: noon.Add(LifetimeMax), Audiences: []string{"a", AudiencePath}},
		} {
			got, err := keys.Verify(issued(t, keys, want), noon, day)
			if err != nil || got.User != want.User || got.Service != want.Service || !got.Expires.Equal(want.Expires) ||
				!got.Issued.Equal(want.Issued) || len(got.Audiences) != len(want.Audiences) {
				t.Errorf("%s: %+v, %v, want %+v", algorithm, got, err, want)
			}
		}
	}
}

// TestEdges takes each claim to its limit and one second past it.
func TestEdges(t *testing.T) {
	keys, _ := generated(t, "k1", HS256)
	user := int64(7)
	for name, c := range map[string]struct {
		claims Claims
		check  Check
		want   error
	}{
		"expired within the leeway":  {Claims{User: user, Expires: noon.Add(time.Second - Leeway)}, day, nil},
		"expired":                    {Claims{User: user, Expires: noon.Add(-Leeway)}, day, Expired},
		"lives as long as it may":    {Claims{User: user, Expires: noon.Add(LifetimeMax + Leeway)}, day, nil},
		"lives too long":             {Claims{User: user, Expires: noon.Add(LifetimeMax + Leeway + time.Second)}, day, TooLong},
		"issued within the leeway":   {Claims{User: user, Issued: noon.Add(Leeway), Expires: noon.Add(time.Hour)}, day, nil},
		"issued in the future":       {Claims{User: user, Issued: noon.Add(Leeway + time.Second), Expires: noon.Add(time.Hour)}, day, NotYet},
		"no user":                    {Claims{User: 0, Expires: noon.Add(time.Hour)}, day, Malformed},
		"a negative user":            {Claims{User: -1, Expires: noon.Add(time.Hour)}, day, Malformed},
		"the audience":               {Claims{User: user, Expires: noon.Add(time.Hour), Audiences: []string{"x", "cim"}}, Check{Audience: "cim", LifetimeMax: LifetimeMax}, nil},
		"another audience":           {Claims{User: user, Expires: noon.Add(time.Hour), Audiences: []string{"x"}}, Check{Audience: "cim", LifetimeMax: LifetimeMax}, WrongAudience},
		"no audience where it needs": {Claims{User: user, Expires: noon.Add(time.Hour)}, Check{Audience: "cim", LifetimeMax: LifetimeMax}, WrongAudience},
	} {
		if _, err := keys.Verify(issued(t, keys, c.claims), noon, c.check); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestForgeriesAreRefused: no part of the key may come from the token.
func TestForgeriesAreRefused(t *testing.T) {
	secret, _ := generated(t, "secret", HS256)
	pair, file := generated(t, "pair", EdDSA)
	other, _ := generated(t, "secret", HS256)
	claims := Claims{User: 7, Expires: noon.Add(time.Hour)}
	payload := fmt.Sprintf(`{"sub":"8","exp":%d}`, noon.Add(time.Hour).Unix())
	public := publicOf(t, file)
	good := issued(t, secret, claims)
	head, body, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(body, ".")
	for name, c := range map[string]struct {
		keys  *Keys
		token string
		want  Fault
	}{
		"empty":                       {secret, "", Malformed},
		"no JWT":                      {secret, "abc", Malformed},
		"four parts":                  {secret, good + ".x", Malformed},
		"the largest, and one more":   {secret, strings.Repeat("a", SizeMax+1), Malformed},
		"no signature":                {secret, head + "." + body + ".", BadSignature},
		"another payload":             {secret, head + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + signature, BadSignature},
		"another key of the same kid": {other, good, BadSignature},
		"no kid":                      {secret, forged(`{"alg":"HS256"}`, payload, unsigned), UnknownKey},
		"an unknown kid":              {secret, forged(`{"alg":"HS256","kid":"x"}`, payload, unsigned), UnknownKey},
		"kid is a number":             {secret, forged(`{"alg":"HS256","kid":1}`, payload, unsigned), UnknownKey},
		"alg none":                    {secret, forged(`{"alg":"none","kid":"secret"}`, payload, unsigned), WrongMethod},
		"alg none in capitals":        {secret, forged(`{"alg":"NONE","kid":"secret"}`, payload, unsigned), WrongMethod},
		"another HMAC":                {secret, forged(`{"alg":"HS512","kid":"secret"}`, payload, unsigned), WrongMethod},
		"HMAC with the public key":    {pair, signedWith(t, public, "pair", claims), WrongMethod},
		"an extension that must be":   {secret, forged(`{"alg":"HS256","kid":"secret","crit":["b64"],"b64":false}`, payload, unsigned), Malformed},
		"header no object":            {secret, forged(`[]`, payload, unsigned), Malformed},
		"payload no object":           {secret, forged(`{"alg":"HS256","kid":"secret"}`, `7`, unsigned), BadSignature},
		"exp is text":                 {secret, forged(`{"alg":"HS256","kid":"secret"}`, `{"sub":"7","exp":"soon"}`, unsigned), BadSignature},
		"members in other letters":    {secret, forged(`{"ALG":"HS256","KID":"secret"}`, payload, unsigned), UnknownKey},
		"no algorithm":                {secret, forged(`{"kid":"secret"}`, payload, unsigned), WrongMethod},
		"Ed25519 that Pay refuses":    {pair, issued(t, pair, claims), Unaffordable},
	} {
		check := day
		check.Pay = func() bool { return false }
		if _, err := c.keys.Verify(c.token, noon, check); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := secret.Verify(good, noon, Check{LifetimeMax: LifetimeMax, Pay: func() bool { return false }}); err != nil {
		t.Errorf("HS256 had to be paid for: %v", err)
	}
}

// signedWith is an HS256 token whose secret is a public key: a classic attack.
func signedWith(t *testing.T, secret []byte, id string, claims Claims) string {
	t.Helper()
	token, err := Key{ID: id, Algorithm: HS256, secret: secret}.Issue(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func publicOf(t *testing.T, file []byte) []byte {
	t.Helper()
	var set jwkSet
	if err := json.Unmarshal(file, &set); err != nil {
		t.Fatal(err)
	}
	public, err := decode("x", set.Keys[0].Public)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// TestClaimsOfAnotherForm: tokens signed by a key of ours whose claims are invalid.
func TestClaimsOfAnotherForm(t *testing.T) {
	keys, _ := generated(t, "k", HS256)
	key, _ := keys.Signing()
	exp := noon.Add(time.Hour).Unix()
	for payload, want := range map[string]Fault{
		fmt.Sprintf(`{"sub":"07","exp":%d}`, exp):                  Malformed,
		fmt.Sprintf(`{"sub":"+7","exp":%d}`, exp):                  Malformed,
		fmt.Sprintf(`{"sub":"ann","exp":%d}`, exp):                 Malformed,
		fmt.Sprintf(`{"sub":7,"exp":%d}`, exp):                     Malformed,
		fmt.Sprintf(`{"sub":"9223372036854775808","exp":%d}`, exp): Malformed,
		fmt.Sprintf(`{"sub":"7","exp":%d,"role":"admin"}`, exp):    Malformed,
		fmt.Sprintf(`{"exp":%d}`, exp):                             Malformed,
		`{"sub":"7","exp":"soon"}`:                                 Malformed,
		`7`:                                                        Malformed,
		`{`:                                                        Malformed,
		`null`:                                                     Expired,
		`{"sub":"7"}`:                                              Expired,
		`{"sub":"7","exp":0}`:                                      Expired,
		`{"sub":"7","exp":253402300799}`:                           TooLong,
		fmt.Sprintf(`{"sub":"7","exp":%d,"nbf":%d}`, exp, exp): NotYet,
	} {
		token := forged(`{"alg":"HS256","kid":"k"}`, payload, func(text string) string {
			signature, err := hmacOf(key, text)
			if err != nil {
				t.Fatal(err)
			}
			return signature
		})
		if got, err := keys.Verify(token, noon, day); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", payload, got, err, want)
		}
	}
}

// TestKeyFiles: each fault is named, and no secret is quoted.
func TestKeyFiles(t *testing.T) {
	secret := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	short := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcde"))
	one := `{"kty":"oct","kid":"a","alg":"HS256","k":"` + secret + `"}`
	for file, want := range map[string]string{
		`{"keys":[` + one + `]}`:             "",
		``:                                   "not a JSON Web Key Set",
		`{}`:                                 "0 keys",
		`{"keys":[` + one + `,` + one + `]}`: `kid "a" stands twice`,
		`{"keys":[{"kty":"oct","alg":"HS256","k":"` + secret + `"}]}`:                                                      "kid has 0 bytes",
		`{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"` + short + `"}]}`:                                             "k has 31 bytes, want at least 32",
		`{"keys":[{"kty":"oct","kid":"a","alg":"HS512","k":"` + secret + `"}]}`:                                            `alg "HS512"`,
		`{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"` + secret + `="}]}`:                                           "k is not base64url",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed448","x":"` + short + `"}`:                                 "not a JSON Web Key Set",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed25519","x":"` + short + `"}]}`:                             "x has 31 bytes",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed25519","x":"` + secret + `","d":"` + secret + `"}]}`:       "x is not the public key of d",
		`{"keys":[` + strings.TrimSuffix(strings.Repeat(one+",", KeysMax+1), ",") + `]}`:                                   fmt.Sprintf("%d keys, want 1 to %d", KeysMax+1, KeysMax),
		`{"keys":[` + one + strings.Repeat(" ", KeyFileMax) + `]}`:                                                         "more than",
		`{"keys":[{"kty":"oct","kid":"` + strings.Repeat("k", KeyIDMax+1) + `","alg":"HS256","k":"` + secret + `"}]}`:      "kid has 65 bytes",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed25519","x":"` + secret + `"}]}`:                            "",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed25519","x":"` + secret + `","d":"` + short + `"}]}`:        "d has 31 bytes",
		`{"keys":[{"kty":"OKP","kid":"a","alg":"EdDSA","crv":"Ed25519","x":"` + secret + `","d":"` + secret + `!` + `"}]}`: "d is not base64url",
	} {
		_, err := ParseKeys([]byte(file))
		switch {
		case (err == nil) != (want == ""), err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%.80s: %v, want %q", file, err, want)
		case err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), short)):
			t.Errorf("the error quotes a secret: %v", err)
		}
	}
}

// TestPublicHalfOnlyVerifies: a route needs no key that can issue tokens.
func TestPublicHalfOnlyVerifies(t *testing.T) {
	both, file := generated(t, "pair", EdDSA)
	var set jwkSet
	if err := json.Unmarshal(file, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys[0].Private = ""
	half, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(half)
	if err != nil {
		t.Fatal(err)
	}
	if _, can := keys.Signing(); can {
		t.Error("the public half can sign")
	}
	if _, err := keys.Verify(issued(t, both, Claims{User: 7, Expires: noon.Add(time.Hour)}), noon, day); err != nil {
		t.Error(err)
	}
	if _, err := keys.byID["pair"].Issue(Claims{User: 7}); err == nil {
		t.Error("the public half issued a token")
	}
}

// TestKeyFileIsReadAgain: a new key is used after a second; with a broken file the
// old keys stay, and the repaired file is read.
func TestKeyFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	first, one := generated(t, "first", HS256)
	second, two := generated(t, "second", HS256)
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(one)
	var faults []error
	f, err := OpenFile(path, func(_ *Keys, err error) { faults = append(faults, err) })
	if err != nil {
		t.Fatal(err)
	}
	now := noon
	holds := func(step string, keys *Keys, wantFaults int) {
		t.Helper()
		if _, err := f.Keys(now).Verify(issued(t, keys, Claims{User: 7, Expires: now.Add(time.Hour)}), now, day); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if len(faults) != wantFaults {
			t.Errorf("%s: changed was called %d times, want %d", step, len(faults), wantFaults)
		}
		now = now.Add(lookEvery)
	}
	holds("at the start", first, 0)
	write(two)
	now = now.Add(-time.Millisecond)
	holds("within the same second", first, 0)
	holds("a second later", second, 1)
	write([]byte("{"))
	holds("a broken file", second, 2)
	holds("the same broken file", second, 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	holds("no file", second, 3)
	holds("still no file", second, 3)
	write(one)
	holds("mended", first, 4)
	if faults[0] != nil || faults[1] == nil || faults[2] == nil || faults[3] != nil {
		t.Errorf("faults %v", faults)
	}
	if _, err := OpenFile(path+".none", nil); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// FuzzVerify: whatever a stranger sends, the error is a Fault.
func FuzzVerify(f *testing.F) {
	keys, _ := generated(f, "k", HS256)
	f.Add(issued(f, keys, Claims{User: 7, Expires: noon.Add(time.Hour)})[1:])
	f.Add(forged(`{"alg":"none","kid":"k"}`, `{"sub":"7"}`, unsigned))
	f.Fuzz(func(t *testing.T, token string) {
		_, err := keys.Verify(token, noon, day)
		var fault Fault
		if !errors.As(err, &fault) || fault.String() == "none" {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func BenchmarkVerifyAgain(b *testing.B) {
	keys, _ := generated(b, "k", EdDSA)
	token := issued(b, keys, Claims{User: 1795400000000, Issued: noon, Expires: noon.Add(time.Hour)})
	for b.Loop() {
		if _, err := keys.Verify(token, noon, day); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyHS256(b *testing.B) {
	keys, _ := generated(b, "k", HS256)
	token := issued(b, keys, Claims{User: 1795400000000, Issued: noon, Expires: noon.Add(time.Hour)})
	for b.Loop() {
		if _, err := keys.read(token, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyWrong(b *testing.B) {
	keys, _ := generated(b, "k", HS256)
	other, _ := generated(b, "k", HS256)
	if _, err := keys.Verify(issued(b, keys, Claims{User: 1, Expires: noon.Add(time.Hour)}), noon, day); err != nil {
		b.Fatal(err)
	}
	token := issued(b, other, Claims{User: 1795400000000, Issued: noon, Expires: noon.Add(time.Hour)})
	for b.Loop() {
		if _, err := keys.Verify(token, noon, day); err == nil {
			b.Fatal("taken")
		}
	}
}

func hmacOf(key Key, text string) (string, error) {
	signature, err := jwt.SigningMethodHS256.Sign(text, key.secret)
	return base64.RawURLEncoding.EncodeToString(signature), err
}
