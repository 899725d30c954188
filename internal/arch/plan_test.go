package arch

// layers is the table of ARCHITECTURE.md: each folder with Go files, and its layer.
// A folder that only serves its parent is listed here without a row there.
var layers = map[string]int{
	"proto":                   0,
	"proto/cimpb":             0,
	"internal/wheel":          0,
	"internal/metrics":        0,
	"internal/child":          0,
	"internal/ledger":         0,
	"internal/nowait":         0,
	"internal/tty":            0,
	"internal/admission":      0,
	"internal/budget":         0,
	"internal/listener":       0,
	"internal/limit":          0,
	"internal/logqueue":       0,
	"internal/notice":         0,
	"internal/token":          0,
	"route/access":            1,
	"internal/daemon":         1,
	"internal/link":           1,
	"internal/received":       1,
	"internal/httpserve":      1,
	"registry":                1,
	"server/shard":            1,
	"store":                   1,
	"store/storetest":         1,
	"registry/zk":             2,
	"store/embedded":          2,
	"store/redis":             2,
	"server":                  2,
	"route":                   2,
	"compat":                  3,
	"compat/redisform":        3,
	"compat/standin":          2,
	"client":                  2,
	"client/terminal":         2,
	"loadgen":                 2,
	"loadgen/live":            2,
	"loadgen/live/background": 1,
	"loadgen/peer":            2,
	"loadgen/floor":           2,
	"internal/standalone":     3,
	"cimtest":                 4,
	"bench/flame":             3,
	"bench/report":            3,
	"bench":                   4,
	"cmd/cim":                 5,
}

// outside are folders without a layer: they import nothing of the module and
// nothing imports them.
var outside = map[string]bool{
	"internal/arch":       true,
	"internal/modulepath": true,
}

// doors lists for each outside module the folders that may import it. Tests, and
// storetest, which is a test for other packages to run, may import any.
var doors = map[string][]string{
	"google.golang.org/protobuf":              {"proto", "proto/cimpb", "compat/standin"},
	"github.com/go-json-experiment/json":      {"proto"},
	"github.com/VictoriaMetrics/metrics":      {"internal/metrics"},
	"go.etcd.io/bbolt":                        {"store/embedded"},
	"github.com/redis/rueidis":                {"store/redis"},
	"github.com/go-zookeeper/zk":              {"registry/zk", "compat/standin"},
	"github.com/panjf2000/gnet/v2":            {"server", "loadgen"},
	"github.com/golang-jwt/jwt/v5":            {"internal/token"},
	"golang.org/x/time":                       {"internal/limit"},
	"github.com/valyala/fasthttp":             {"internal/httpserve", "server", "route", "compat", "loadgen", "loadgen/floor"},
	"github.com/HdrHistogram/hdrhistogram-go": {"loadgen", "bench/report"},
	"github.com/google/pprof":                 {"bench", "bench/flame"},
	"golang.org/x/perf":                       {"bench"},
	"golang.org/x/text":                       {"proto"},
	"golang.org/x/sys":                        {"internal/tty", "server", "loadgen", "loadgen/floor", "cmd/cim"},
	"github.com/ergochat/readline":            {"client/terminal"},
	"github.com/kyokomi/emoji":                {"client/terminal"},
	"github.com/charmbracelet/bubbletea":      {"loadgen/live"},
	"github.com/charmbracelet/lipgloss":       {"loadgen/live/background"},
	"go.uber.org/goleak":                      {"cimtest"},
	"github.com/spf13/cobra":                  {"cmd/cim"},
	"github.com/spf13/pflag":                  {"cmd/cim"},
	"github.com/knadh/koanf":                  {"cmd/cim"},
	"go.yaml.in/yaml":                         {"cmd/cim"},
}

// above are folders with tests of the whole system only: they may import any layer,
// and nothing imports them.
var above = map[string]bool{"internal/e2e": true, "internal/faults": true, "internal/model": true}

// shown are folders whose external tests start the whole system, as examples or to
// be proven against it: these tests may import any layer. Nothing can import them.
var shown = map[string]bool{"client": true, "loadgen": true, "cimtest": true}

// testFolder is the folder whose package only tests import.
const testFolder = "store/storetest"

// pure are the packages that start no goroutine, take no lock, read no clock
// and know no socket.
var pure = map[string]bool{
	"proto":              true,
	"internal/wheel":     true,
	"internal/ledger":    true,
	"internal/admission": true,
	"internal/received":  true,
	"server/shard":       true,
}

// impure are the imports that would give a pure package a lock, a clock, a socket
// or a file. Packages below them count too, except those in purified.
var impure = []string{"sync", "time", "net", "os", "syscall", "context", "log", "golang.org/x/sys"}

// purified are packages below an impure path that contain only values.
var purified = map[string]bool{"net/netip": true}

// adapter is the folder that connects ours with another system, whose name is word.
// Without the adapter and its wiring everything else builds and passes.
const (
	adapter = "compat"
	word    = "original"
)

// apart are folders that must not even name that system.
var apart = map[string]bool{
	"route": true, "route/access": true,
	"store": true, "store/embedded": true, "store/redis": true, "store/storetest": true,
}

// joins are the folders that may import the adapter, besides those in above.
var joins = map[string]bool{"cmd/cim": true}

// linesMax and testLinesMax bound a file that people read: of code, of tests.
const (
	linesMax     = 500
	testLinesMax = 600
)

// empty are words for a package or a file that do not describe its job.
var empty = []string{"util", "common", "manager", "helper"}
