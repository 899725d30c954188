package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	// proofScheme is the one of the Authorization header: "cim TIME MAC", the
	// time in seconds since 1970.
	proofScheme = "cim"
	// proofLife is how far a proof's time may be from the listener's, either
	// way.
	proofLife = 30 * time.Second
	// proofKeyLabel makes the key of these proofs another one than that of the
	// links' hellos.
	proofKeyLabel = "cim admin 1"
)

var (
	errNotLoopback = errors.New("only loopback is answered here, or who proves to know the link secret: set CIM_LINK_SECRET")
	errNoSecret    = errors.New("only loopback is answered here: this process has no link secret")
	errHostName    = errors.New("a request without a proof must be to localhost or a loopback address, not to another name")
	errProofForm   = errors.New("the proof cannot be read")
	errProofWrong  = errors.New("the proof is wrong: is it the link secret of this process?")
)

// prove returns the Authorization header by which a request shows that its
// sender knows secret. The secret itself never travels.
func prove(secret, method, uri string, body []byte, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 10)
	return proofScheme + " " + at + " " + hex.EncodeToString(proofMAC(secret, method, uri, at, body))
}

func proofMAC(secret, method, uri, at string, body []byte) []byte {
	sum := sha256.Sum256(body)
	key := keyedHash([]byte(secret), proofKeyLabel)
	return keyedHash(key, strings.Join([]string{method, uri, at, hex.EncodeToString(sum[:])}, "\n"))
}

func keyedHash(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// checkProof reports why a header of prove is not to be believed.
func checkProof(secret, header, method, uri string, body []byte, now time.Time) error {
	words := strings.Split(header, " ")
	if len(words) != 3 || words[0] != proofScheme {
		return errProofForm
	}
	seconds, err := strconv.ParseInt(words[1], 10, 64)
	mac, macErr := hex.DecodeString(words[2])
	if err != nil || macErr != nil {
		return errProofForm
	}
	if !hmac.Equal(mac, proofMAC(secret, method, uri, words[1], body)) {
		return errProofWrong
	}
	if off := now.Sub(time.Unix(seconds, 0)); off.Abs() > proofLife {
		return fmt.Errorf("the proof was made %v away from this machine's time, want at most %v", off.Round(time.Second), proofLife)
	}
	return nil
}

// admit is the reason to refuse a request below /admin/, which must come from loopback or carry a
// proof. Without a proof the request's host name must be loopback's too: a web page in a browser of
// this machine, whose name resolves to loopback, sends its own name.
func admit(secret string, r *http.Request, body []byte, now time.Time) error {
	local := isLoopback(r.RemoteAddr)
	if local && isLoopbackName(r.Host) {
		return nil
	}
	header := r.Header.Get("Authorization")
	switch {
	case secret != "" && header != "":
		return checkProof(secret, header, r.Method, r.URL.RequestURI(), body, now)
	case local:
		return errHostName
	case secret == "":
		return errNoSecret
	}
	return errNotLoopback
}

func isLoopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// isLoopbackName is about a Host header, with or without a port.
func isLoopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	at, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && at.Unmap().IsLoopback()
}
