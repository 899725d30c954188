package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// zooJars are ZooKeeper and its logger, where Debian installs them.
var zooJars = []string{"/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"}

// zooPackages are the packages that zooJars come in.
var zooPackages = []string{"zookeeper", "libslf4j-java"}

// ZooKeeper starts a ZooKeeper of one node with its data in dir. Its tick is
// 200 ms, so that sessions may be as short as 400 ms.
func ZooKeeper(ctx context.Context, dir string) (*Daemon, error) {
	return ZooKeeperAt(ctx, Place{}, dir)
}

// ZooKeeperAt is ZooKeeper at a place.
func ZooKeeperAt(ctx context.Context, place Place, dir string) (*Daemon, error) {
	return start(ctx, spec{
		name: "zookeeper", dir: dir, place: place,
		command: func(dir string, port int) (*exec.Cmd, error) { return zooCommand(place.host(), dir, port) },
		answers: zooServes,
	})
}

// zooServes checks that a ZooKeeper serves, and that it is ours: another process
// may have taken the port first. It answers ruok before it serves, but srvr in full
// only when it serves.
func zooServes(ctx context.Context, d *Daemon) error {
	if _, err := ask(ctx, d.Addr, "srvr", "Zxid:"); err != nil {
		return err
	}
	_, err := ask(ctx, d.Addr, "conf", zooData(d.spec.dir))
	return err
}

func zooData(dir string) string { return filepath.Join(dir, "data") }

func zooCommand(host, dir string, port int) (*exec.Cmd, error) {
	for i, jar := range zooJars {
		if _, err := os.Stat(jar); err != nil {
			return nil, missing(fmt.Sprintf("%s (%s)", zooPackages[i], jar), zooPackages[i])
		}
	}
	path := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=200\nminSessionTimeout=400\nmaxSessionTimeout=60000\ndataDir=%s\n"+
		"clientPort=%d\nclientPortAddress=%s\nmaxClientCnxns=0\nadmin.enableServer=false\n"+
		"4lw.commands.whitelist=srvr,ruok,mntr,conf\n", zooData(dir), port, host)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// A small heap and the fast compiler: it starts in about a second. No fsync:
	// its data need not survive the machine.
	return program("java", "-Xms16m", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dzookeeper.forceSync=no", "-cp", strings.Join(zooJars, ":"),
		"org.apache.zookeeper.server.ZooKeeperServerMain", path)
}
