package main

import (
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"cim/loadgen"
)

// sizes is how long texts are.
type sizes struct{ target *loadgen.Sizes }

func (s sizes) String() string { return s.target.String() }
func (s sizes) Type() string   { return "bytes" }

func (s sizes) Set(text string) (err error) {
	*s.target, err = loadgen.ParseSizes(text)
	return err
}

// shares is the mix of mode mixed.
type shares struct{ target *loadgen.Mix }

func (s shares) String() string { return s.target.String() }
func (s shares) Type() string   { return "shares" }

func (s shares) Set(text string) error {
	var m loadgen.Mix
	parts := listWords(text)
	if len(parts) == 0 {
		return errors.New("want group=1,private=99")
	}
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		switch {
		case err == nil && name == "group":
			m.Group = n
		case err == nil && name == "private":
			m.Private = n
		default:
			return errors.New("want group=1,private=99")
		}
	}
	*s.target = m
	return nil
}

// slos is an SLO.
type slos struct{ target *loadgen.SLO }

func (s slos) String() string { return s.target.String() }
func (s slos) Type() string   { return "terms" }

func (s slos) Set(text string) (err error) {
	if text == "" {
		*s.target = nil
		return nil
	}
	*s.target, err = loadgen.ParseSLO(text)
	return err
}

// counts is a list of whole numbers of at least 1, separated by commas, which may
// end in k or M.
type counts struct{ target *[]int }

func (c counts) String() string { return numbers(c).String() }
func (c counts) Type() string   { return kindNumbers }

func (c counts) Set(text string) error {
	var list []int
	for _, word := range listWords(text) {
		n, err := parseCount(word)
		if err != nil {
			return err
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return errWantCounts
	}
	*c.target = list
	return nil
}

var errWantCounts = errors.New("want whole numbers from 1, as 500, 5k or 1.5M, separated by commas")

var countUnits = map[string]float64{"k": 1e3, "M": 1e6}

// parseCount reads 5, 5k, 1.5k or 2M.
func parseCount(text string) (int, error) {
	fault := errWantCounts
	for suffix, unit := range countUnits {
		if digits, has := strings.CutSuffix(text, suffix); has {
			v, err := strconv.ParseFloat(digits, 64)
			if v *= unit; err != nil || !(v >= 1 && v <= math.MaxInt32) || v != math.Trunc(v) {
				return 0, fault
			}
			return int(v), nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fault
	}
	return n, nil
}

// perSecond is a rate, which may end in /s; 0 stands for none.
type perSecond struct{ target *int }

func (p perSecond) String() string { return strconv.Itoa(*p.target) }
func (p perSecond) Type() string   { return "rate" }

func (p perSecond) Set(text string) error {
	text = strings.TrimSuffix(text, "/s")
	if text == "0" {
		*p.target = 0
		return nil
	}
	n, err := parseCount(text)
	if err != nil {
		return errors.New("want a rate, as 500, 2k/s, or 0")
	}
	*p.target = n
	return nil
}

// sourcesMax bounds the addresses of one range.
const sourcesMax = 256

// addressList is a list of IPv4 addresses and ranges of their last number, as
// 127.0.0.2-9.
type addressList struct{ target *[]netip.Addr }

func (a addressList) String() string {
	words := make([]string, len(*a.target))
	for i, address := range *a.target {
		words[i] = address.String()
	}
	return strings.Join(words, ",")
}

func (a addressList) Type() string { return kindTexts }

func (a addressList) Set(text string) error {
	var list []netip.Addr
	for _, word := range listWords(text) {
		first, last, ranged := strings.Cut(word, "-")
		address, err := netip.ParseAddr(first)
		end := 0
		if err == nil && address.Is4() {
			end = int(address.As4()[3])
			if ranged {
				end, err = strconv.Atoi(last)
			}
		}
		if err != nil || !address.Is4() || end < int(address.As4()[3]) || end >= sourcesMax {
			return errors.New("want IPv4 addresses, as 127.0.0.1 or 127.0.0.2-9, separated by commas")
		}
		for bytes := address.As4(); ; bytes[3]++ {
			list = append(list, netip.AddrFrom4(bytes))
			if int(bytes[3]) == end {
				break
			}
		}
	}
	*a.target = list
	return nil
}
