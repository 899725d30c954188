package bench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"cim/bench/report"
)

const unknown = "unknown"

func newManifest(cfg Config) report.Manifest {
	m := report.Manifest{
		Commit: unknown, Go: runtime.Version(),
		Kernel: firstLineOf("/proc/sys/kernel/osrelease"),
		CPU:    member("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Cores: runtime.GOMAXPROCS(0),
		Memory:    member("/proc/meminfo", "MemTotal"),
		LoadBegan: firstLineOf("/proc/loadavg"), Began: time.Now(),
		Seed: cfg.Seed, Repeat: cfg.Repeat, Profiled: cfg.Profile,
		Settings: make(map[string]string), Modules: make(map[string]string),
		Programs: make(map[string]string), Systems: make(map[string]string),
	}
	for turn := range cfg.Repeat {
		order := cfg.order(turn)
		for i := range order {
			order[i]++
		}
		m.Turns = append(m.Turns, order)
	}
	for _, s := range cfg.Scenarios {
		m.Settings[s.label()] = strings.Join(append(slices.Clone(s.Load), cfg.kindOf(s).asks...), " ")
		k := cfg.kindOf(s)
		addVersions(m.Programs, k)
		if len(k.settings) > len(m.Systems[k.name]) { // of two settings the longer one says more
			m.Systems[k.name] = k.settings
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		addBuild(&m, info)
	}
	return m
}

func addBuild(m *report.Manifest, info *debug.BuildInfo) {
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			m.Commit = setting.Value
		case "vcs.modified":
			m.Modified = setting.Value == "true"
		}
	}
	for _, dep := range info.Deps {
		m.Modules[dep.Path] = dep.Version
	}
}

func finish(m *report.Manifest, other *otherWork) {
	m.OtherCPU, m.OtherChecks = other.mean(), other.checks
	m.LoadEnded, m.Ended = firstLineOf("/proc/loadavg"), time.Now()
}

// versionMax bounds the time to ask for a version.
const versionMax = 5 * time.Second

// addVersions adds those of what the kind needs beside cim, unknown where it is
// not there.
func addVersions(versions map[string]string, k kind) {
	for _, name := range k.packages {
		if at := "package " + name; versions[at] == "" {
			versions[at] = firstLine("dpkg-query", "--show", "--showformat=${Version}", name)
		}
	}
	for _, command := range k.commands {
		if at := command[0]; versions[at] == "" {
			versions[at] = firstLine(at, command[1:]...)
		}
	}
}

// firstLine is the first line that a program says, or unknown.
func firstLine(name string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), versionMax)
	defer cancel()
	text, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if err != nil || len(line) == 0 {
		return unknown
	}
	return string(line)
}

// firstLineOf is the file's first line, or unknown: a manifest that lacks a
// fact says so.
func firstLineOf(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(line)
}

// member is the value of the first line "name : value" of a file.
func member(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(b)) {
		key, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}
