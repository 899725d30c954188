package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"cim/client"
)

const (
	// contextsFile is the book's place in the user's configuration folder.
	contextsFile = "cim/contexts.yaml"
	// contextsMaxBytes bounds the file: thousands of contexts.
	contextsMaxBytes = 1 << 20
	// contextNameMax bounds a context's name, in bytes.
	contextNameMax = 64
	// bookLockMax is how long a change waits for the change of another process,
	// which looks again each bookLockPause.
	bookLockMax   = 2 * time.Second
	bookLockPause = 10 * time.Millisecond
)

// The keys of the file. Those of a context are named as the settings are.
const (
	keyInUse     = "in-use"
	keyContexts  = "contexts"
	keyRoute     = "route"
	keyName      = "name"
	keyTokenFile = "token-file"
)

// contextEntry is what a context keeps.
type contextEntry struct {
	routes    []string // URLs, at least one
	name      string   // the user's; "": none
	tokenFile string   // "": no token is shown
}

// contextBook is the contexts of the user that runs the command, in one file that is replaced
// whole. It is read once and changed by change only.
type contextBook struct {
	path    string // "": this user has no folder for it
	inUse   string // a key of entries; "": none
	entries map[string]contextEntry
}

// openContexts reads the user's book, which is empty if there is no file.
func openContexts() (*contextBook, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return &contextBook{entries: map[string]contextEntry{}}, nil // as of a service: it has no home
	}
	return readContexts(filepath.Join(folder, contextsFile))
}

func readContexts(path string) (*contextBook, error) {
	b := &contextBook{path: path, entries: map[string]contextEntry{}}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, nil
	case err != nil:
		return nil, fmt.Errorf("contexts: %w", err)
	case info.Size() > contextsMaxBytes:
		return nil, fmt.Errorf("contexts: %s has %d bytes, want at most %d", path, info.Size(), contextsMaxBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("contexts: %w", err)
	}
	if err := b.parse(text); err != nil {
		return nil, fmt.Errorf("contexts: %s: %w; mend it, or remove it to begin anew", path, err)
	}
	return b, nil
}

// parse reads the file's text. An error names the line.
func (b *contextBook) parse(text []byte) error {
	read, err := parseYAML(text)
	if err != nil {
		return err
	}
	for key, value := range read.values {
		switch key {
		case keyInUse:
			b.inUse, err = scalarText(value)
		case keyContexts:
			err = b.parseEntries(text, value)
		default:
			err = errors.New("no such key")
		}
		if err != nil {
			return at(text, err, key)
		}
	}
	if _, known := b.entries[b.inUse]; b.inUse != "" && !known {
		return at(text, fmt.Errorf("there is no context %q", b.inUse), keyInUse)
	}
	return nil
}

func (b *contextBook) parseEntries(text []byte, value any) error {
	contexts, ok := value.(map[string]any)
	if _, null := value.(nullText); !ok && !null && value != nil {
		return errors.New("want a mapping from names to contexts")
	}
	for name, value := range contexts {
		entry, err := parseEntry(text, name, value)
		if err == nil {
			err = errors.Join(checkContextName(name), entry.check())
		}
		if err != nil {
			return at(text, err, keyContexts, name)
		}
		b.entries[name] = entry
	}
	return nil
}

func parseEntry(text []byte, name string, value any) (contextEntry, error) {
	var entry contextEntry
	fields, ok := value.(map[string]any)
	if !ok {
		return entry, fmt.Errorf("want %s and %s", keyRoute, keyName)
	}
	for key, value := range fields {
		var err error
		switch key {
		case keyRoute:
			_, err = setValue(texts{&entry.routes}, value)
		case keyName:
			entry.name, err = scalarText(value)
		case keyTokenFile:
			entry.tokenFile, err = scalarText(value)
		default:
			err = errors.New("no such key")
		}
		if err != nil {
			return entry, at(text, err, keyContexts, name, key)
		}
	}
	return entry, nil
}

// lineFault is a fault whose line is known.
type lineFault struct{ error }

// at adds the line of a key in text to its fault. The keys lead there from the outermost. An error
// that has a line keeps it.
func at(text []byte, err error, keys ...string) error {
	if errors.As(err, new(lineFault)) {
		return err
	}
	line := 0
	for n, found := range strings.Split(string(text), "\n") {
		key, _, _ := strings.Cut(strings.TrimSpace(found), ":")
		if strings.Trim(key, `"'`) != keys[0] {
			continue
		}
		line = n + 1
		if keys = keys[1:]; len(keys) == 0 {
			return lineFault{fmt.Errorf("line %d: %s: %w", line, strings.Trim(key, `"'`), err)}
		}
	}
	return lineFault{fmt.Errorf("from line %d: %s: %w", max(line, 1), keys[len(keys)-1], err)}
}

// check reports all faults of e.
func (e contextEntry) check() error {
	c := client.Config{Routes: e.routes, Name: e.name}
	if e.name == "" {
		c.Name = "nobody" // a context may have a route only
	}
	return c.Check()
}

func checkContextName(name string) error {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	}
	if name == "" || len(name) > contextNameMax || strings.ContainsFunc(name, odd) || strings.HasPrefix(name, "-") {
		return fmt.Errorf("context %q: want 1 to %d bytes of letters, digits, dots, dashes and underscores", name, contextNameMax)
	}
	return nil
}

// names are those of the contexts, in their order.
func (b *contextBook) names() []string { return slices.Sorted(maps.Keys(b.entries)) }

// find returns the context of a name.
func (b *contextBook) find(name string) (contextEntry, error) {
	entry, known := b.entries[name]
	if known {
		return entry, nil
	}
	if len(b.entries) == 0 {
		return entry, fmt.Errorf("context %q is not known, there is none yet; cim context add makes one", name)
	}
	return entry, fmt.Errorf("context %q is not known, want one of %s", name, strings.Join(b.names(), ", "))
}

// keep adds a context, or replaces the one with that name. The first one becomes the one in use.
func (b *contextBook) keep(name string, c contextEntry) error {
	if err := errors.Join(checkContextName(name), c.check()); err != nil {
		return err
	}
	return b.change(func(b *contextBook) error {
		b.put(name, c)
		return nil
	})
}

func (b *contextBook) put(name string, c contextEntry) {
	if len(b.entries) == 0 {
		b.inUse = name
	}
	b.entries[name] = c
}

// change reads the book anew, has edit change it, and replaces the file,
// while no other process does the same. After an error the file is as it was.
func (b *contextBook) change(edit func(*contextBook) error) error {
	if b.path == "" {
		return errors.New("contexts: this user has no folder for configuration: set HOME or XDG_CONFIG_HOME")
	}
	unlock, err := lockFolder(filepath.Dir(b.path))
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	defer unlock()
	now, err := readContexts(b.path)
	if err != nil {
		return err
	}
	if err := edit(now); err != nil {
		return err
	}
	if err := now.write(); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	*b = *now
	return nil
}

// lockFolder makes the folder if it is not there, and keeps other processes
// from changing the book in it.
func lockFolder(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	opened, err := openLock(folder)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(bookLockMax); ; time.Sleep(bookLockPause) {
		err = tryLock(opened)
		if err == nil {
			return func() { _ = opened.Close() }, nil // which unlocks it
		}
		if !errors.Is(err, errLocked) || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, err), opened.Close())
		}
	}
}

// write replaces the file. Where its name is a link the file behind it is
// meant.
func (b *contextBook) write() error {
	text, err := yaml.Marshal(b.raw())
	if err != nil {
		return err
	}
	path := b.path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	next, err := os.CreateTemp(filepath.Dir(path), "contexts-*.yaml") // has mode 0600
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	if err = errors.Join(err, next.Sync(), next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

func (b *contextBook) raw() map[string]any {
	contexts := map[string]any{}
	for name, e := range b.entries {
		fields := map[string]any{keyRoute: strings.Join(e.routes, ",")}
		if e.name != "" {
			fields[keyName] = e.name
		}
		if e.tokenFile != "" {
			fields[keyTokenFile] = e.tokenFile
		}
		contexts[name] = fields
	}
	raw := map[string]any{keyContexts: contexts}
	if b.inUse != "" {
		raw[keyInUse] = b.inUse
	}
	return raw
}
