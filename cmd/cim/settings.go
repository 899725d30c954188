package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	envPrefix = "CIM_"
	envConfig = envPrefix + "CONFIG" // names the file, so it is no setting
	// keyDelimiter is what koanf joins nested keys with. No setting has it, so
	// nested keys are unknown.
	keyDelimiter = "."
	fromDefault  = "default"
)

// settings are the settings of one command.
type settings struct {
	// typed has the names and the defaults, and after resolve the values.
	typed *pflag.FlagSet
	// secret settings have no flag, which other users of the machine could
	// read, and their values are never shown.
	secret map[string]bool
	// source says where the value of each setting came from, after resolve.
	source map[string]string
	// notes are oddities that do no harm, after resolve.
	notes []string
}

// newSettings makes the settings that define adds to a set of flags.
func (p *program) newSettings(define func(*pflag.FlagSet), secret ...string) *settings {
	s := &settings{typed: pflag.NewFlagSet("", pflag.ContinueOnError), secret: map[string]bool{}}
	define(s.typed)
	s.typed.SortFlags = false
	for _, name := range secret {
		s.secret[name] = true
	}
	p.commands = append(p.commands, s)
	return s
}

// givenText is the text of a flag on the command line. It is read as a value
// together with all others, so that all faults are reported at once. A list may be
// given in several flags; of anything else the last one holds.
type givenText struct {
	text, kind string
	isSet      bool
}

func (g *givenText) String() string { return g.text }
func (g *givenText) Type() string   { return g.kind }

func (g *givenText) Set(text string) error {
	if g.isSet && (g.kind == kindTexts || g.kind == kindNumbers) {
		text = g.text + "," + text
	}
	g.text, g.isSet = text, true
	return nil
}

// offer gives cmd a flag for each setting that is no secret.
func (s *settings) offer(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	s.typed.VisitAll(func(f *pflag.Flag) {
		if !s.secret[f.Name] {
			text := &givenText{text: f.DefValue, kind: f.Value.Type()}
			cmd.Flags().VarPF(text, f.Name, f.Shorthand, f.Usage).NoOptDefVal = f.NoOptDefVal
			offerValues(cmd, f)
		}
	})
}

// read resolves the settings and checks them. It reports all faults at once. Harmless oddities give
// a warning only.
func (s *settings) read(p *program, cmd *cobra.Command, check func() error) error {
	err := s.resolve(p, cmd.Flags())
	for _, note := range s.notes {
		report(cmd.ErrOrStderr(), errors.New("warning: "+note))
	}
	return errors.Join(err, s.sourced(check()))
}

// sourced adds the source of the value to each fault that starts with a setting's name.
func (s *settings) sourced(err error) error {
	if err == nil {
		return nil
	}
	var faults []error
	for fault := range strings.Lines(err.Error()) {
		fault = strings.TrimSuffix(fault, "\n")
		name, _, _ := strings.Cut(fault, " ")
		if source := s.source[name]; source != "" && source != fromDefault {
			fault += " (from " + source + ")"
		}
		faults = append(faults, errors.New(fault))
	}
	return errors.Join(faults...)
}

// layer is one place that values come from.
type layer struct {
	values *koanf.Koanf
	source func(key string) string
}

// resolve sets the typed values: a flag's before the environment's before the
// file's before the default. It reports all faults at once, each with the
// setting, the value and where it came from.
func (s *settings) resolve(p *program, flags *pflag.FlagSet) error {
	s.source = map[string]string{}
	layers, err := p.layers(s, flags)
	if err != nil {
		return err
	}
	merged := koanf.New(keyDelimiter)
	faults := []error{p.unknown(layers[0])}
	for _, l := range layers {
		faults = append(faults, merged.Merge(l.values))
		for _, key := range l.values.Keys() {
			s.source[key] = l.source(key)
		}
	}
	s.typed.VisitAll(func(f *pflag.Flag) { faults = append(faults, s.set(f, merged)) })
	return errors.Join(faults...)
}

// layers reads what there is, the weakest first.
func (p *program) layers(s *settings, flags *pflag.FlagSet) ([]layer, error) {
	fromFile, fromEnv, fromFlags := koanf.New(keyDelimiter), koanf.New(keyDelimiter), koanf.New(keyDelimiter)
	lines := map[string]int{}
	if p.file != "" {
		read, err := readYAMLFile(p.file)
		if err == nil {
			lines = read.lines
			err = fromFile.Load(fixedValues(read.values), nil)
		}
		if err != nil {
			return nil, fmt.Errorf("config %q: %w", p.file, err)
		}
		s.dropEmpty(p, fromFile, lines)
	}
	environ := s.readEnviron(p)
	if err := fromEnv.Load(env.Provider(keyDelimiter, env.Opt{
		Prefix:        envPrefix,
		TransformFunc: func(variable, value string) (string, any) { return environ[variable], value },
		EnvironFunc:   func() []string { return p.environ },
	}), nil); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	if err := fromFlags.Load(s.given(flags), nil); err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	return []layer{
		{fromFile, func(key string) string { return fmt.Sprintf("file %s line %d", p.file, lines[key]) }},
		{fromEnv, func(key string) string { return "environment " + envName(key) }},
		{fromFlags, func(key string) string { return "flag --" + key }},
	}, nil
}

// dropEmpty removes settings of a file that have no value after the colon, and null values of
// settings that want no text: they count as not set.
func (s *settings) dropEmpty(p *program, values *koanf.Koanf, lines map[string]int) {
	for _, key := range values.Keys() {
		text, null := values.Get(key).(nullText)
		f := s.typed.Lookup(key)
		switch {
		case !p.isSetting(key) || !null && values.Get(key) != nil:
		case null && f != nil && f.Value.Type() == kindText:
			s.notes = append(s.notes, fmt.Sprintf(
				"%s: %s is taken as a text (from file %s line %d): quote it if that is meant; write nothing for the default", key, text, p.file, lines[key]))
		default:
			values.Delete(key)
		}
	}
}

// fixedValues are values that koanf takes as they are.
type fixedValues map[string]any

// ReadBytes implements koanf.Provider, which wants it of sources with a parser.
func (fixedValues) ReadBytes() ([]byte, error) { return nil, errors.New("values have no bytes") }

// Read implements koanf.Provider.
func (v fixedValues) Read() (map[string]any, error) { return v, nil }

// given are the settings that stood on the command line.
func (s *settings) given(flags *pflag.FlagSet) fixedValues {
	values := fixedValues{}
	flags.Visit(func(flag *pflag.Flag) {
		if s.typed.Lookup(flag.Name) != nil {
			values[flag.Name] = flag.Value.String()
		}
	})
	return values
}

// unknown reports the keys of l that are no setting of any command.
func (p *program) unknown(l layer) error {
	var faults []error
	for _, key := range l.values.Keys() {
		if !p.isSetting(key) {
			faults = append(faults, fmt.Errorf("%s: %s: no such setting%s", key, l.source(key), didYouMean(key, p.names())))
		}
	}
	return errors.Join(faults...)
}

// isSetting reports whether key is a setting of any command.
func (p *program) isSetting(key string) bool {
	return slices.ContainsFunc(p.commands, func(s *settings) bool { return s.typed.Lookup(key) != nil })
}

// names are those of the settings of all commands, in their order.
func (p *program) names() []string {
	var names []string
	for _, s := range p.commands {
		s.typed.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	}
	return names
}

// set reads the value of one setting. After an error it keeps its default, which passes every
// check.
func (s *settings) set(f *pflag.Flag, values *koanf.Koanf) error {
	if !values.Exists(f.Name) {
		s.source[f.Name] = fromDefault
		return nil
	}
	text, err := setValue(f.Value, values.Get(f.Name))
	if err == nil {
		s.noteBlanks(f, text)
		return nil
	}
	if _, hides := f.Value.(urls); hides || s.secret[f.Name] {
		err = fmt.Errorf("%s: the value from %s is not valid", f.Name, s.source[f.Name])
	} else {
		err = fmt.Errorf("%s %q from %s: %w", f.Name, text, s.source[f.Name], err)
	}
	return errors.Join(err, s.setDefault(f))
}

// noteBlanks warns of a text that ends in white space, as of a file that was put
// into a variable whole: it is part of the value.
func (s *settings) noteBlanks(f *pflag.Flag, text string) {
	if f.Value.Type() == kindText && text != strings.TrimSpace(text) {
		s.notes = append(s.notes, fmt.Sprintf("%s begins or ends with white space, which is part of it (from %s)", f.Name, s.source[f.Name]))
	}
}

// setDefault undoes what a value that was refused has left.
func (s *settings) setDefault(f *pflag.Flag) error {
	s.source[f.Name] = fromDefault
	return s.restore(f)
}

func (s *settings) restore(f *pflag.Flag) error {
	if f.Value.String() == f.DefValue {
		return nil
	}
	return f.Value.Set(f.DefValue)
}
