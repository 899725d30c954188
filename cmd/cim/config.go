package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newConfigCommand(p *program) *cobra.Command {
	cmd := newShowStandalone(p, "config")
	server, route := defaultServer(), defaultRoute()
	routeSettings := p.newSettings(route.define, linkSecret, zkAuth)
	cmd.AddCommand(
		newShowStandalone(p, "standalone"),
		newShowCommand(p, "server", "server", p.newSettings(server.define, linkSecret, zkAuth), server.check),
		newShowCommand(p, "route", "route", routeSettings, func() error { return route.checkWith(routeSettings) }),
	)
	return cmd
}

func newShowStandalone(p *program, name string) *cobra.Command {
	c := defaultStandalone()
	s := p.newSettings(c.define)
	return newShowCommand(p, name, "standalone", s, func() error { return c.checkWith(s) })
}

// newShowCommand makes the command that shows the settings s of another one.
func newShowCommand(p *program, name, of string, s *settings, check func() error) *cobra.Command {
	example, path := false, strings.Replace("config "+name, "config config", "config", 1)
	cmd := &cobra.Command{
		Use:   name,
		Short: fmt.Sprintf("Print each setting of cim %s and where its value came from", of),
		Example: fmt.Sprintf(`  cim %[1]s                        what holds, and where it came from
  cim %[1]s --example > cim.yaml   a file with comments to begin with
  cim %[2]s --config cim.yaml`, path, of),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			if example {
				return failed(s.writeExample(cmd.OutOrStdout(), of, cmd.CommandPath()))
			}
			return failed(s.write(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().BoolVar(&example, "example", example, "print a YAML file with comments for --config, with the present values")
	s.offer(cmd)
	return cmd
}

// write prints a line for each setting, secrets hidden.
func (s *settings) write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var err error
	s.typed.VisitAll(func(f *pflag.Flag) {
		if err == nil {
			_, err = fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, s.shown(f), s.source[f.Name])
		}
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

func (s *settings) shown(f *pflag.Flag) string {
	value := f.Value.String()
	switch {
	case value == "":
		return `""`
	case s.secret[f.Name]:
		return "(hidden)"
	}
	return value
}
