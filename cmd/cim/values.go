package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// portMax is the largest port.
const portMax = 65535

// number is a whole number within bounds.
type number struct {
	target      *int
	least, most int
}

// numberVar adds a number, whose default is what target has.
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

// fraction is a number within bounds that need not be whole.
type fraction struct {
	target      *float64
	least, most float64
}

// fractionVar adds a fraction, whose default is what target has.
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

// ipv4 is an IPv4 address.
type ipv4 struct{ target *string }

func (a ipv4) String() string { return *a.target }
func (a ipv4) Type() string   { return "IPv4" }

func (a ipv4) Set(text string) error {
	if parsed, err := netip.ParseAddr(text); err != nil || !parsed.Is4() {
		return errors.New("want an IPv4 address")
	}
	*a.target = text
	return nil
}

// choice is one of some words.
type choice[T ~string] struct {
	target *T
	words  []T
}

// choiceVar adds a choice, whose default is what target has.
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

func (c choice[T]) list(between string) string {
	words := make([]string, len(c.words))
	for i, w := range c.words {
		words[i] = string(w)
	}
	return strings.Join(words, between)
}

// What the help calls the lists.
const (
	kindTexts   = "list"
	kindNumbers = "numbers"
)

// texts is a list of words divided by commas.
type texts struct{ target *[]string }

func (l texts) String() string { return strings.Join(*l.target, ",") }
func (l texts) Type() string   { return kindTexts }

func (l texts) Set(text string) error {
	*l.target = strings.Split(text, ",")
	return nil
}

// numbers is a list of whole numbers of at least 1, divided by commas.
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
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return fmt.Errorf("want whole numbers from 1, divided by commas")
		}
		list = append(list, n)
	}
	*l.target = list
	return nil
}

// urls is a list of URLs whose passwords are never shown.
type urls struct{ texts }

func (l urls) String() string {
	shown := make([]string, len(*l.target))
	for i, text := range *l.target {
		shown[i] = "(hidden)" // what cannot be read may be all password
		if u, err := url.Parse(text); err == nil {
			shown[i] = u.Redacted()
		}
	}
	return strings.Join(shown, ",")
}
