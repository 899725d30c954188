package main

import "cim/loadgen"

// sizes is how long texts are.
type sizes struct{ target *loadgen.Sizes }

func (s sizes) String() string { return s.target.String() }
func (s sizes) Type() string   { return "bytes" }

func (s sizes) Set(text string) (err error) {
	*s.target, err = loadgen.ParseSizes(text)
	return err
}
