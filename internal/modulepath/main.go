// Command modulepath gives the module another path, under which others can fetch
// it, in all files of the tree: go.mod, imports, docs, the proto file and its
// generated descriptor. Then it proves that the tree still builds, and that a
// module outside of it can build and test against it.
//
//	go run ./internal/modulepath github.com/you/cim
//	go run ./internal/modulepath -try example.com/you/cim
//
// With -try it does so in a copy, which it removes. It imports nothing of the
// module, so it can run while the module is half renamed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// proofMax bounds the builds and tests after a rename.
const proofMax = 20 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modulepath:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("modulepath", flag.ContinueOnError)
	inCopy := flags.Bool("try", false, "rename a copy of the tree, and remove it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("want one path, as github.com/you/cim")
	}
	to := flags.Arg(0)
	if err := checkPath(to); err != nil {
		return err
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proofMax)
	defer cancel()
	if !*inCopy {
		return rename(ctx, root, to)
	}
	folder, err := os.MkdirTemp("", "modulepath-")
	if err != nil {
		return err
	}
	tree := filepath.Join(folder, "tree")
	err = copyTree(root, tree)
	if err == nil {
		err = rename(ctx, tree, to)
	}
	return errors.Join(err, os.RemoveAll(folder))
}

// findRoot is the folder of go.mod at or above the working directory.
func findRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		above := filepath.Dir(folder)
		if above == folder {
			return "", errors.New("no go.mod here or above: run it in the tree of cim")
		}
		folder = above
	}
}

// rename changes the path of the tree to to, and proves that it works.
func rename(ctx context.Context, root, to string) error {
	changed, err := renameTree(root, to)
	if err != nil {
		return fmt.Errorf("%w; what was changed comes back with git checkout", err)
	}
	fmt.Printf("module %s: %d files changed\n", to, changed)
	for _, args := range [][]string{{"build", "./..."}, {"vet", "./client/...", "./cimtest", "./proto/..."}, {"test", "-count=1", "./internal/arch", "./proto/..."}} {
		if err := goCommand(ctx, root, args...); err != nil {
			return err
		}
	}
	return proveOutside(ctx, root, to)
}

// goCommand runs the go command in a folder, outside of any workspace.
func goCommand(ctx context.Context, folder string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = folder
	cmd.Env = append(cmd.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	fmt.Println("ok   go", strings.Join(args, " "))
	return nil
}
