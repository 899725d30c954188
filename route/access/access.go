// Package access decides which callers may make which requests, and how often.
//
// A Gate reads the bearer token of a request (package token) and identifies the caller. The table
// needs has what each call of the HTTP API demands of its caller; Caller.May applies it. The form
// of an id gives no right. Caller.Spend counts requests by user and by address.
//
// Any goroutine may use a Gate. It logs no token and no part of one.
package access

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"cim/internal/limit"
	"cim/internal/token"
	"cim/proto"
)

// Mode says whether a request must identify its caller.
type Mode string

// The modes.
const (
	Off     Mode = "off"     // no credential is needed, and none is looked at
	Check   Mode = "check"   // a token must be valid if it is shown; requests without one are served and counted
	Require Mode = "require" // only requests with a right one are served
)

// Registration says which callers may register accounts, in the modes that check credentials.
type Registration string

// The registrations.
const (
	RegisterOpen    Registration = "open"    // every client that reaches the route
	RegisterService Registration = "service" // backends, which have a service token
)

const (
	// PathDaysDefault and PathDaysMax bound the life of a token in the path of
	// an old client's address, in days.
	PathDaysDefault = 30
	PathDaysMax     = 366
	// OriginsMax bounds the origins that are listed.
	OriginsMax = 64
)

// Config holds the settings of a Gate.
type Config struct {
	// Mode is Off, Check or Require. Default Off.
	Mode Mode
	// KeyFile is the file with the keys of tokens, a JSON Web Key Set. Check
	// and Require demand it.
	KeyFile string
	// Audience must be among a token's audiences, unless it is "". Default "".
	Audience string
	// Register says which callers may register accounts. Default RegisterOpen.
	Register Registration
	// PathDays is how many days ahead a token in a path may expire, 1 to
	// PathDaysMax; 0 refuses such tokens. Default PathDaysDefault.
	PathDays int
	// Origins are the web origins, scheme://host or scheme://host:port, whose pages may use this
	// route. Default none: only the route's own.
	Origins []string
	// Limits are how often one user or one address may ask. Default
	// limit.DefaultConfig.
	Limits limit.Config
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Mode: Off, Register: RegisterOpen, PathDays: PathDaysDefault, Limits: limit.DefaultConfig()}
}

// Check reports all faults of c.
func (c Config) Check() error {
	var faults []error
	switch c.Mode {
	case Off:
	case Check, Require:
		if c.KeyFile == "" {
			faults = append(faults, fmt.Errorf("auth %s needs auth-keys, a file with the keys: cim token keygen writes one", c.Mode))
		}
	default:
		faults = append(faults, fmt.Errorf("auth %q, want %s, %s or %s", c.Mode, Off, Check, Require))
	}
	switch c.Register {
	case RegisterOpen, RegisterService:
	default:
		faults = append(faults, fmt.Errorf("auth-register %q, want %s or %s", c.Register, RegisterOpen, RegisterService))
	}
	if c.PathDays < 0 || c.PathDays > PathDaysMax {
		faults = append(faults, fmt.Errorf("auth-path-days %d, want 0 to %d", c.PathDays, PathDaysMax))
	}
	if len(c.Origins) > OriginsMax {
		faults = append(faults, fmt.Errorf("allow-origin lists %d origins, want at most %d", len(c.Origins), OriginsMax))
	}
	for _, origin := range c.Origins {
		faults = append(faults, checkOrigin(origin))
	}
	return errors.Join(append(faults, c.Limits.Check())...)
}

// checkOrigin: an origin as browsers write it (RFC 6454, section 6.2).
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || origin != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("allow-origin %q, want scheme://host or scheme://host:port in lower case, such as https://chat.example.com", origin)
	}
	return nil
}

// The statuses of HTTP (RFC 9110, sections 15.5.2 and 15.5.4).
const (
	statusUnknown   = 401 // the caller is not identified
	statusForbidden = 403 // the caller may not
)

// Refusal is why a request is not served.
type Refusal struct {
	Status int    // of HTTP: 401 or 403; 0: the caller may ask again later, as above a limit
	Fault  string // a name for metrics and logs
	Text   string // for the caller
}

// Caller is the caller of a request.
type Caller struct {
	identified bool // it has shown a valid credential
	service    bool
	path       bool // the credential stood in the path
	user       proto.UserID
	from       netip.Addr
	expires    time.Time // of the token; zero: none was shown
	issued     time.Time // of the token; zero: it does not say
	ask        bool      // the mode is not Off
	must       bool      // the mode is Require
	gate       *Gate
}

// From is the caller's address.
func (c Caller) From() netip.Addr { return c.from }

// Lifetime is how long a session may last that the caller logs in at now: until
// the token expires. If it has expired, and clocks that differ are why it still
// counts, it is until it counts no more. It is more than 0; 0: without a token
// there is no bound.
func (c Caller) Lifetime(now time.Time) time.Duration {
	if !c.identified {
		return 0
	}
	if left := c.expires.Sub(now); left > 0 {
		return left
	}
	return max(time.Millisecond, c.expires.Add(token.Leeway).Sub(now))
}

// Is reports whether the caller has proved to be user: by a token of the user's
// own, not by one of a service.
func (c Caller) Is(user proto.UserID) bool { return c.identified && !c.service && c.user == user }

// TokenOf returns the user whose token the caller showed; 0: none, or the token of a service.
func (c Caller) TokenOf() proto.UserID {
	if !c.identified || c.service {
		return 0
	}
	return c.user
}

// IssuedBefore is the refusal of a token that was issued before at; nil: the token is accepted. A
// token without a time of issue counts as older than any time. at 0 refuses none.
func (c Caller) IssuedBefore(at proto.UnixMilli) *Refusal {
	if at == 0 || !c.issued.IsZero() && c.issued.UnixMilli() >= int64(at) {
		return nil
	}
	since := time.UnixMilli(int64(at)).UTC().Format(time.RFC3339)
	return &Refusal{statusUnknown, "revoked", fmt.Sprintf("log in anew, with a fresh token: those of user %d that were issued before %s are refused", c.user, since)}
}

// Call is what a request asks for.
type Call uint8

// The calls. They are the paths of the HTTP API, but that a search for the
// account of a name (/registerAccount with find) is one of its own.
const (
	Register Call = iota
	Find
	Login
	OffLine
	Private
	Group
	FetchOffline
	OnlineUser
	callCount
)

// need is what a call asks of its caller.
type need uint8

const (
	needService    need = iota // a service
	needSubject                // the user that the request names, or a service
	needIdentified             // any right credential
	needRegister               // what Config.Register says
)

// needs is the table of the API: what each call asks, and whether a token in
// the path will do.
var needs = [callCount]struct {
	need   need
	inPath bool
}{
	Register:     {needRegister, false},
	Find:         {needIdentified, false},
	Login:        {needSubject, true},
	OffLine:      {needSubject, true},
	Private:      {needSubject, true},
	Group:        {needSubject, true},
	FetchOffline: {needSubject, true},
	OnlineUser:   {needIdentified, false},
}

// May decides whether the caller may make call in the name of subject, the user
// that the request speaks for; 0 where it names none. nil: the caller may.
func (c Caller) May(call Call, subject proto.UserID) *Refusal {
	if !c.ask || !c.identified && !c.must {
		return nil
	}
	asks := needs[call]
	switch {
	case c.gate.open(call):
		return nil
	case !c.identified:
		return &Refusal{statusUnknown, "missing", "a token is needed: Authorization: Bearer TOKEN"}
	case c.path && !asks.inPath:
		return &Refusal{statusForbidden, "path_token", "a token in the path does not allow this call"}
	case c.service, asks.need == needIdentified, asks.need == needSubject && c.user == subject:
		return nil
	case asks.need == needSubject:
		return &Refusal{statusForbidden, "subject", fmt.Sprintf("the token is of another user than %d", subject)}
	}
	return &Refusal{statusForbidden, "not_service", "this needs a service token"}
}

// Anonymous reports whether the caller may make call only since the mode is
// Check: it has shown no credential, and Require would ask for one.
func (c Caller) Anonymous(call Call) bool {
	return c.ask && !c.must && !c.identified && !c.gate.open(call)
}

// open reports whether any caller may make call, in each mode.
func (g *Gate) open(call Call) bool {
	return needs[call].need == needRegister && g.config.Register == RegisterOpen
}

// Gate knows the keys.
type Gate struct {
	config  Config
	keys    *token.File // nil in mode Off
	buckets buckets
}

// Open reads the keys. log gets a line when the key file changes, and one if the
// mode does not use it.
func Open(config Config, log *slog.Logger) (*Gate, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	g := &Gate{config: config, buckets: newBuckets()}
	if config.Mode == Off {
		if config.KeyFile != "" {
			log.Warn("auth-keys is not used: auth is off, so any client may act as any user")
		}
		return g, nil
	}
	keys, err := token.OpenFile(config.KeyFile, func(keys *token.Keys, err error) {
		if err != nil {
			log.Error("the keys of tokens stay as they were: the file cannot be used", "error", err)
			return
		}
		log.Info("the keys of tokens were read again", "keys", keys.Len())
	})
	if err != nil {
		return nil, fmt.Errorf("auth-keys: %w", err)
	}
	g.keys = keys
	return g, nil
}

// Credential is what a request shows.
type Credential struct {
	Header string     // the value of Authorization; "": none
	Path   string     // the token in the path; "": none
	From   netip.Addr // of the client
}

// Identify returns the caller, or why the credential is refused.
func (g *Gate) Identify(shown Credential, now time.Time) (Caller, *Refusal) {
	caller := Caller{gate: g, from: shown.From, ask: g.config.Mode == Check || g.config.Mode == Require, must: g.config.Mode == Require}
	if !caller.ask || shown.Header == "" && shown.Path == "" {
		return caller, nil
	}
	text, check, refused := g.read(shown)
	if refused != nil {
		return Caller{}, refused
	}
	check.Pay = func() bool { return g.payCheck(shown.From, now) }
	claims, err := g.keys.Keys(now).Verify(text, now, check)
	if err != nil {
		return Caller{}, refuse(err)
	}
	// An address is configured once and seen by proxies, so its token counts
	// nowhere else, and no other token counts there.
	if inPath := slices.Contains(claims.Audiences, token.AudiencePath); inPath != (shown.Header == "") || inPath && claims.Service {
		return Caller{}, refuse(token.WrongAudience)
	}
	caller.identified, caller.service, caller.user = true, claims.Service, proto.UserID(claims.User)
	caller.path, caller.expires, caller.issued = shown.Header == "", claims.Expires, claims.Issued
	return caller, nil
}

// read returns the token that was shown and the checks that it must pass. A header comes before a
// path.
func (g *Gate) read(shown Credential) (text string, check token.Check, refused *Refusal) {
	if shown.Header == "" {
		if g.config.PathDays == 0 {
			return "", check, &Refusal{statusUnknown, "path_token", "tokens in the path are not taken here"}
		}
		return shown.Path, token.Check{Audience: token.AudiencePath, LifetimeMax: time.Duration(g.config.PathDays) * 24 * time.Hour}, nil
	}
	scheme, text, _ := strings.Cut(shown.Header, " ")
	text = strings.TrimSpace(text)
	if !strings.EqualFold(scheme, "Bearer") || text == "" {
		return "", check, &Refusal{statusUnknown, "scheme", "Authorization is not of the form: Bearer TOKEN"}
	}
	return text, token.Check{Audience: g.config.Audience, LifetimeMax: token.LifetimeMax}, nil
}

// refuse is the answer to a token that is not right.
func refuse(err error) *Refusal {
	var fault token.Fault
	if !errors.As(err, &fault) {
		fault = token.Malformed
	}
	if fault == token.Unaffordable { // the token was not checked: its client must not think that it is invalid
		return &Refusal{0, fault.String(), "too many tokens of this address are to be checked, try again later"}
	}
	return &Refusal{statusUnknown, fault.String(), fault.Error()}
}
