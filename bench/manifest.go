package bench

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// manifest is where and from what the figures came.
type manifest struct {
	Commit    string            `json:"commit"` // "unknown" if the binary was built outside a checkout
	Modified  bool              `json:"modified"`
	Go        string            `json:"go"`
	Kernel    string            `json:"kernel"`
	CPU       string            `json:"cpu"`
	CPUs      int               `json:"cpus"`
	Memory    string            `json:"memory"`
	LoadBegan string            `json:"load_average_began"`
	LoadEnded string            `json:"load_average_ended"`
	Began     time.Time         `json:"began"`
	Ended     time.Time         `json:"ended"`
	Settings  map[string]string `json:"settings"` // a scenario's name, and its load
	Modules   map[string]string `json:"modules"`
}

const unknown = "unknown"

func newManifest(cfg Config) *manifest {
	m := &manifest{
		Commit: unknown, Go: runtime.Version(),
		Kernel: firstLineOf("/proc/sys/kernel/osrelease"),
		CPU:    member("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(),
		Memory:    member("/proc/meminfo", "MemTotal"),
		LoadBegan: firstLineOf("/proc/loadavg"), Began: time.Now(),
		Settings: make(map[string]string), Modules: make(map[string]string),
	}
	for _, s := range cfg.Scenarios {
		m.Settings[s.Name] = strings.Join(s.Load, " ")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		m.addBuild(info)
	}
	return m
}

func (m *manifest) addBuild(info *debug.BuildInfo) {
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

func (m *manifest) finish() {
	m.LoadEnded, m.Ended = firstLineOf("/proc/loadavg"), time.Now()
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
