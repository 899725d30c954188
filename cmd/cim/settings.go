package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
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

// settings are what one command can be told.
type settings struct {
	// typed has the names and the defaults, and after resolve the values.
	typed *pflag.FlagSet
	// secret settings have no flag, which other users of the machine could
	// read, and their values are never shown.
	secret map[string]bool
	// source says where the value of each setting came from, after resolve.
	source map[string]string
	// foreign are the variables that look like settings and are none of any
	// command, after resolve.
	foreign []string
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

// given is the text of a flag on the command line. It is read as a value
// together with all others, so that all faults are reported at once.
type given struct{ text, kind string }

func (g *given) String() string        { return g.text }
func (g *given) Set(text string) error { g.text = text; return nil }
func (g *given) Type() string          { return g.kind }

// offer gives cmd a flag for each setting that is no secret.
func (s *settings) offer(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	s.typed.VisitAll(func(f *pflag.Flag) {
		if !s.secret[f.Name] {
			text := &given{text: f.DefValue, kind: f.Value.Type()}
			cmd.Flags().VarPF(text, f.Name, f.Shorthand, f.Usage).NoOptDefVal = f.NoOptDefVal
		}
	})
}

// read resolves the settings and has check look at them. It reports all that
// is wrong at once. Variables that are no setting are only warned of: whoever
// runs the process may have put them there, as Kubernetes does for a Service
// named cim.
func (s *settings) read(p *program, cmd *cobra.Command, check func() error) error {
	err := s.resolve(p, cmd.Flags())
	if len(s.foreign) > 0 {
		report(cmd.ErrOrStderr(), fmt.Errorf("warning: no such setting: %s", strings.Join(s.foreign, ", ")))
	}
	return errors.Join(err, s.sourced(check()))
}

// sourced adds to each fault that begins with a setting's name where the value
// came from.
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
	layers, err := p.layers(s, flags)
	if err != nil {
		return err
	}
	merged := koanf.New(keyDelimiter)
	s.source = map[string]string{}
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
	if p.file != "" {
		if err := fromFile.Load(file.Provider(p.file), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("config %q: %w", p.file, err)
		}
		p.dropNulls(fromFile)
	}
	if err := fromEnv.Load(env.Provider(keyDelimiter, env.Opt{
		Prefix:        envPrefix,
		TransformFunc: func(variable, value string) (string, any) { return s.envSetting(p, variable), value },
		EnvironFunc:   func() []string { return p.environ },
	}), nil); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	if err := fromFlags.Load(flagProvider{s, flags}, nil); err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	slices.Sort(s.foreign)
	return []layer{
		{fromFile, func(string) string { return "file " + p.file }},
		{fromEnv, func(key string) string { return "environment " + envName(key) }},
		{fromFlags, func(key string) string { return "flag --" + key }},
	}, nil
}

// dropNulls leaves out the settings without a value: they are not set.
func (p *program) dropNulls(values *koanf.Koanf) {
	for _, key := range values.Keys() {
		if p.known(key) && values.Get(key) == nil {
			values.Delete(key)
		}
	}
}

// envSetting is the setting that a variable gives: CIM_HTTP_PORT is http-port.
// It is "" if there is none, and then the variable is foreign.
func (s *settings) envSetting(p *program, variable string) string {
	if variable == envConfig {
		return ""
	}
	key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, envPrefix)), "_", "-")
	if envName(key) != variable || !p.known(key) {
		s.foreign = append(s.foreign, variable)
		return ""
	}
	return key
}

func envName(key string) string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(key), "-", "_")
}

// flagProvider gives koanf the flags that stood on the command line.
type flagProvider struct {
	settings *settings
	flags    *pflag.FlagSet
}

// ReadBytes implements koanf.Provider, which wants it of sources with a parser.
func (flagProvider) ReadBytes() ([]byte, error) {
	return nil, errors.New("flags have no bytes")
}

// Read implements koanf.Provider.
func (f flagProvider) Read() (map[string]any, error) {
	values := map[string]any{}
	f.flags.Visit(func(flag *pflag.Flag) {
		if f.settings.typed.Lookup(flag.Name) != nil {
			values[flag.Name] = flag.Value.String()
		}
	})
	return values, nil
}

// unknown reports the keys of l that are no setting of any command.
func (p *program) unknown(l layer) error {
	var faults []error
	for _, key := range l.values.Keys() {
		if !p.known(key) {
			faults = append(faults, fmt.Errorf("%s: %s: no such setting", key, l.source(key)))
		}
	}
	return errors.Join(faults...)
}

// known reports whether key is a setting of some command.
func (p *program) known(key string) bool {
	return slices.ContainsFunc(p.commands, func(s *settings) bool { return s.typed.Lookup(key) != nil })
}

// set reads the value of one setting. After an error it has its default, in
// which a check finds nothing wrong.
func (s *settings) set(f *pflag.Flag, values *koanf.Koanf) error {
	if !values.Exists(f.Name) {
		s.source[f.Name] = fromDefault
		return nil
	}
	text, err := settingText(values.Get(f.Name), f.Value.Type())
	if err == nil {
		err = f.Value.Set(text)
	}
	if err == nil {
		return nil
	}
	if _, hides := f.Value.(urls); hides || s.secret[f.Name] {
		err = fmt.Errorf("%s: the value from %s is not valid", f.Name, s.source[f.Name])
	} else {
		err = fmt.Errorf("%s %q from %s: %w", f.Name, text, s.source[f.Name], err)
	}
	return errors.Join(err, s.setDefault(f))
}

// setDefault undoes what a value that was refused has left.
func (s *settings) setDefault(f *pflag.Flag) error {
	s.source[f.Name] = fromDefault
	if f.Value.String() == f.DefValue {
		return nil
	}
	return f.Value.Set(f.DefValue)
}

// settingText is a value as a flag of kind would have it; a YAML list is
// joined by commas.
func settingText(value any, kind string) (string, error) {
	list, ok := value.([]any)
	if !ok || kind != kindTexts && kind != kindNumbers {
		return scalarText(value)
	}
	words := make([]string, len(list))
	for i, v := range list {
		word, err := scalarText(v)
		if err != nil {
			return word, err
		}
		words[i] = word
	}
	return strings.Join(words, ","), nil
}

// scalarText is one value of YAML as text, even if that is not one.
func scalarText(value any) (string, error) {
	text := fmt.Sprint(value)
	switch value.(type) {
	case string, bool, int, int64, uint64, float64:
		return text, nil
	}
	return text, errors.New("want one plain value")
}
