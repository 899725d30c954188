// Package background says that a terminal's background is dark, so that nobody
// asks the terminal.
//
// bubbletea has it asked when a program starts, whatever the program is for: of
// a terminal that does not answer every command would wait for 5 s, and of one
// that does a typed key might be taken for the answer. Packages are initialized
// in the order of their paths, once what they import has been (the Go
// specification, "Program initialization"): so this one comes before
// github.com/charmbracelet/bubbletea. The live view has no colour that depends
// on the answer.
package background

import "github.com/charmbracelet/lipgloss"

func init() { lipgloss.SetHasDarkBackground(true) }
