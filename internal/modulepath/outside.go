package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// outside is the module of an application: a program that uses package client, and
// its test that uses package cimtest. MODULE stands for the path, TREE for the
// folder.
var outside = map[string]string{
	"go.mod": `module example.com/outside

go 1.26.0

require MODULE v0.0.0

replace MODULE => TREE
`,
	"greet/main.go": `// Command greet greets a user of cim.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"MODULE/client"
)

func main() {
	if err := greet(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "greet:", err)
		os.Exit(1)
	}
}

func greet(route, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{Routes: []string{route}, Name: "greeter"})
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	user, err := c.Find(ctx, name)
	if err != nil {
		return err
	}
	result, err := c.Send(ctx, user.ID, "hello, "+name)
	if err != nil {
		return err
	}
	return result.Err()
}
`,
	"greet/greet_test.go": `package main

import (
	"os/exec"
	"testing"

	"MODULE/cimtest"
)

func TestGreet(t *testing.T) {
	system := cimtest.Start(t)
	ann := system.Login("ann")
	if out, err := exec.Command("go", "run", ".", system.Route(), "ann").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if m := ann.Next(); m.Text != "hello, ann" || m.Sender.Name != "greeter" {
		t.Errorf("ann got %q of %q", m.Text, m.Sender.Name)
	}
}
`,
}

// proveOutside builds and tests a module outside the tree.
func proveOutside(ctx context.Context, root, path string) error {
	folder, err := os.MkdirTemp("", "outside-")
	if err != nil {
		return err
	}
	err = writeOutside(root, folder, path)
	for _, args := range [][]string{{"vet", "./..."}, {"test", "-count=1", "./..."}} {
		if err == nil {
			err = goCommand(ctx, folder, args...)
		}
	}
	return errors.Join(err, os.RemoveAll(folder))
}

func writeOutside(root, folder, path string) error {
	fill := strings.NewReplacer("MODULE", path, "TREE", root)
	for name, text := range outside {
		target := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	// So the registry is asked for nothing that the tree does not use.
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "go.sum"), sums, 0o644)
}
