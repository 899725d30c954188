// Package background declares a terminal's background dark, so that the terminal is not asked.
//
// bubbletea asks when a program starts, whatever the program is for. If the terminal does not
// answer, every command would wait for 5 s; if it does, a typed key might be taken for the answer.
// Packages are initialized in the order of their paths, after the packages that they import (the Go
// specification, "Program initialization"): so this one comes before
// github.com/charmbracelet/bubbletea. The live view has no colour that depends on the answer.
package background

import "github.com/charmbracelet/lipgloss"

func init() { lipgloss.SetHasDarkBackground(true) }
