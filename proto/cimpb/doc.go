// Package cimpb is what protoc makes of cim.proto. The tests hold package
// proto, which reads and writes frames in place, against it; nothing else
// needs it, but a Go program may.
package cimpb

//go:generate protoc --proto_path=.. --go_out=. --go_opt=paths=source_relative cim.proto
