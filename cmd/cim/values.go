package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"cim/internal/limit"
)

// portMax is the largest port.
const portMax = 65535

// number is a whole number within bounds.
type number struct {
	target      *int
	least, most int
}

// numberVar adds a number with the default *target.
func numberVar(flags *pflag.FlagSet, target *int, name string, least, most int, usage string) {
	flags.Var(number{target, least, most}, name, usage)
}

func (n number) String() string { return strconv.Itoa(*n.target) }
func (n number) Type() string   { return "int" }

func (n number) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < n.least || v > n.most {
		return fmt.Errorf("want a whole number from %d to %d", n.least, n.most)
	}
	*n.target = v
	return nil
}

// byteCount is a number of bytes within bounds, or 0.
type byteCount struct {
	target      *int64
	least, most int64
}

// bytesVar adds a number of bytes with the default *target.
func bytesVar(flags *pflag.FlagSet, target *int64, name string, least, most int64, usage string) {
	flags.Var(byteCount{target, least, most}, name, usage)
}

// byteUnits are the units of a number of bytes, the largest first.
var byteUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (b byteCount) String() string {
	for _, unit := range byteUnits {
		if *b.target != 0 && *b.target%unit.bytes == 0 {
			return strconv.FormatInt(*b.target/unit.bytes, 10) + unit.name
		}
	}
	return "0"
}

func (b byteCount) Type() string { return "bytes" }

func (b byteCount) Set(text string) error {
	digits, unit := text, int64(1)
	for _, u := range byteUnits {
		if cut, has := strings.CutSuffix(text, u.name); has {
			digits, unit = cut, u.bytes
			break
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v != 0 && (v < b.least/unit || v > b.most/unit) {
		return fmt.Errorf("want 0, or bytes from %s to %s, as 256MiB", byteCount{target: &b.least}, byteCount{target: &b.most})
	}
	*b.target = v * unit
	return nil
}

// fraction is a number within bounds that need not be whole.
type fraction struct {
	target      *float64
	least, most float64
}

// fractionVar adds a fraction with the default *target.
func fractionVar(flags *pflag.FlagSet, target *float64, name string, least, most float64, usage string) {
	flags.Var(fraction{target, least, most}, name, usage)
}

func (f fraction) String() string { return strconv.FormatFloat(*f.target, 'g', -1, 64) }
func (f fraction) Type() string   { return "number" }

func (f fraction) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= f.least && v <= f.most) { // so that NaN is refused
		return fmt.Errorf("want a number from %v to %v", f.least, f.most)
	}
	*f.target = v
	return nil
}

// rate is how often a second something may be done: a number, 0 for no limit, or
// auto.
type rate struct{ target *limit.Rate }

func (r rate) Type() string { return "rate" }

func (r rate) String() string {
	if *r.target == limit.Auto {
		return rateAuto
	}
	return strconv.Itoa(int(*r.target))
}

const rateAuto = "auto"

func (r rate) Set(text string) error {
	if text == rateAuto {
		*r.target = limit.Auto
		return nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 || limit.Rate(v) > limit.RateMax {
		return fmt.Errorf("want %s, or a whole number from 0 to %d, where 0 is no limit", rateAuto, limit.RateMax)
	}
	*r.target = limit.Rate(v)
	return nil
}

// duration is a time within bounds.
type duration struct {
	target      *time.Duration
	least, most time.Duration
}

// durationVar adds a duration within bounds, with the default *target.
func durationVar(flags *pflag.FlagSet, target *time.Duration, name string, least, most time.Duration, usage string) {
	flags.Var(duration{target, least, most}, name, usage)
}

func (d duration) String() string { return d.target.String() }
func (d duration) Type() string   { return "duration" }

func (d duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v < d.least || v > d.most {
		return fmt.Errorf("want a duration from %v to %v, like 90s", d.least, d.most)
	}
	*d.target = v
	return nil
}

// prefixes is a list of IP addresses and prefixes, separated by commas.
type prefixes struct{ target *[]netip.Prefix }

func (l prefixes) String() string {
	words := make([]string, len(*l.target))
	for i, p := range *l.target {
		if words[i] = p.String(); p.IsSingleIP() {
			words[i] = p.Addr().String()
		}
	}
	return strings.Join(words, ",")
}

func (l prefixes) Type() string { return kindTexts }

func (l prefixes) Set(text string) error {
	var list []netip.Prefix
	for _, word := range listWords(text) {
		p, err := parsePrefix(word)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	*l.target = list
	return nil
}

// parsePrefix reads an address, which stands for itself alone, or a prefix. An
// IPv4 address within IPv6 is that IPv4 address.
func parsePrefix(word string) (netip.Prefix, error) {
	fault := fmt.Errorf("%q is not an IP address or a prefix, like 192.0.2.1 or 192.0.2.0/24", word)
	if !strings.Contains(word, "/") {
		addr, err := netip.ParseAddr(word)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fault
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, fault
	}
	if addr := p.Addr(); addr.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fault
		}
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its prefix, want %v", word, p.Masked())
	}
	return p, nil
}

// choice is one of some words.
type choice[T ~string] struct {
	target *T
	words  []T
}

// choiceVar adds a choice with the default *target.
func choiceVar[T ~string](flags *pflag.FlagSet, target *T, name, usage string, words ...T) {
	flags.Var(choice[T]{target, words}, name, usage)
}

func (c choice[T]) String() string { return string(*c.target) }
func (c choice[T]) Type() string   { return c.list("|") }

func (c choice[T]) Set(text string) error {
	if !slices.Contains(c.words, T(text)) {
		return fmt.Errorf("want %s", c.list(" or "))
	}
	*c.target = T(text)
	return nil
}

func (c choice[T]) list(between string) string { return strings.Join(c.choices(), between) }

// choices are the words, for a shell to offer.
func (c choice[T]) choices() []string {
	words := make([]string, len(c.words))
	for i, w := range c.words {
		words[i] = string(w)
	}
	return words
}

// What the help calls a text and the lists.
const (
	kindText    = "string"
	kindTexts   = "list"
	kindNumbers = "numbers"
)

// listValue is a setting that takes the words of a list one by one, so that a word of a YAML list
// may have a comma.
type listValue interface{ setList(words []string) error }

// texts is a list of words separated by commas.
type texts struct{ target *[]string }

func (l texts) String() string { return strings.Join(*l.target, ",") }
func (l texts) Type() string   { return kindTexts }

func (l texts) words() []string { return *l.target }

func (l texts) Set(text string) error { return l.setList(listWords(text)) }

func (l texts) setList(words []string) error {
	*l.target = words
	return nil
}

// listWords are the words of a list that are separated by commas, without the
// blanks around them and without those that are empty.
func listWords(text string) []string { return bareWords(strings.Split(text, ",")) }

func bareWords(words []string) []string {
	var bare []string
	for _, word := range words {
		if word = strings.TrimSpace(word); word != "" {
			bare = append(bare, word)
		}
	}
	return bare
}

// numbers is a list of whole numbers of at least 1, separated by commas.
type numbers struct{ target *[]int }

func (l numbers) String() string {
	words := make([]string, len(*l.target))
	for i, n := range *l.target {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

func (l numbers) Type() string { return kindNumbers }

func (l numbers) Set(text string) error {
	var list []int
	for _, word := range listWords(text) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return errWantNumbers
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return errWantNumbers
	}
	*l.target = list
	return nil
}

var errWantNumbers = errors.New("want whole numbers from 1, separated by commas")

// urls is a list of URLs whose passwords are never shown.
type urls struct{ texts }

func (l urls) String() string {
	shown := make([]string, len(*l.target))
	for i, text := range *l.target {
		shown[i] = "(hidden)" // what cannot be read may be all password
		if u, err := url.Parse(text); err == nil {
			shown[i] = hideQuery(u).Redacted()
		}
	}
	return strings.Join(shown, ",")
}

// haveSecret reports whether String hides a part of one of the URLs.
func (l urls) haveSecret() bool {
	return slices.ContainsFunc(*l.target, func(text string) bool {
		u, err := url.Parse(text)
		if err != nil {
			return true
		}
		whole := u.String()
		return hideQuery(u).Redacted() != whole
	})
}

// setValue gives a setting the value that was written: a text, or of YAML a list
// of them. It returns the value as one text.
func setValue(v pflag.Value, written any) (string, error) {
	list, isList := written.([]any)
	if isList && (v.Type() == kindTexts || v.Type() == kindNumbers) {
		words, err := listTexts(list)
		text := strings.Join(words, ",")
		if l, ok := v.(listValue); ok && err == nil {
			return text, l.setList(words)
		} else if err == nil {
			err = v.Set(text)
		}
		return text, err
	}
	text, err := scalarText(written)
	if err != nil {
		return text, err
	}
	switch v.(type) {
	case number, fraction, duration:
		return text, v.Set(strings.TrimSpace(text)) // which names its bounds
	}
	plain, err := plainText(v.Type(), text)
	if err != nil {
		return text, err
	}
	return text, v.Set(plain)
}

// listTexts are the words of a YAML list.
func listTexts(list []any) ([]string, error) {
	words := make([]string, 0, len(list))
	for _, item := range list {
		if item == nil {
			continue // a dash behind which nothing stands
		}
		word, err := scalarText(item)
		if err != nil {
			return []string{word}, err
		}
		words = append(words, word)
	}
	return bareWords(words), nil
}

// plainText is a text as a setting of a kind of pflag's own takes it; only a text
// has blanks around it. Numbers have plain digits: 010 is ten, and 0x10 and
// 1_000, which pflag and YAML take in ways of their own, are refused.
func plainText(kind, text string) (string, error) {
	if kind == kindText {
		return text, nil
	}
	text = strings.TrimSpace(text)
	switch kind {
	case "bool":
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return "true", nil
		case "false", "no", "off", "0":
			return "false", nil
		}
		return "", errors.New("want true or false")
	case "int", "int64":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", errors.New("want a whole number")
		}
		return strconv.FormatInt(n, 10), nil
	case "uint64":
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return "", errors.New("want a whole number from 0")
		}
		return strconv.FormatUint(n, 10), nil
	case "duration":
		if _, err := time.ParseDuration(text); err != nil {
			return "", errors.New("want a time with its unit, as 500ms, 30s, 5m or 72h")
		}
	}
	return text, nil
}

// hideQuery hides the passwords behind the question mark.
func hideQuery(u *url.URL) *url.URL {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return &url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: "(hidden)"}
	}
	hidden := false
	for name := range query {
		if strings.Contains(name, "password") {
			query.Set(name, "xxxxx")
			hidden = true
		}
	}
	if hidden {
		u.RawQuery = query.Encode()
	}
	return u
}
