package contract

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// Settings is everything that a client was set to, in its own names.
type Settings map[string]string

// Run is one pass, or the last of several.
type Run struct {
	Tally       *Tally
	First, Last Stamp
}

// outcome is the line that a peer prints last.
type outcome struct {
	Records       uint64   `json:"records"`
	Bytes         uint64   `json:"bytes"`
	ValueBytes    uint64   `json:"value_bytes"`
	FirstByteSum  uint64   `json:"first_byte_sum"`
	Checksum      *uint64  `json:"checksum,omitempty"`
	WallS         float64  `json:"wall_s"`
	CPUS          float64  `json:"cpu_s"`
	HostCPUS      float64  `json:"host_cpu_s"`
	FirstRecordMs float64  `json:"first_record_ms"`
	MaxRSSKB      uint64   `json:"max_rss_kb"`
	Settings      Settings `json:"settings"`
}

// Consumer reads all passes of a request and reports each to done, first to last.
type Consumer func(request *Request, settings Settings, done func(Run)) error

// Main is the main function of a peer: it parses, consumes and prints.
func Main(name, module string, consume Consumer) {
	if err := run(name, module, consume); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(name, module string, consume Consumer) error {
	request, err := Parse(os.Args[1:])
	if errors.Is(err, ErrVersion) {
		_, err := fmt.Println(name, versionOf(module))
		return err
	}
	if err != nil {
		return err
	}
	settings, err := runtimeSettings(request)
	if err != nil {
		return err
	}
	var first *Stamp
	var last Run
	err = consume(request, settings, func(run Run) {
		if first == nil {
			first = &run.First
		}
		last = run
	})
	if err != nil {
		return err
	}
	return report(request, settings, first.at, &last)
}

// runtimeSettings sets what Go's runtime can be set to, and says what it is.
func runtimeSettings(request *Request) (Settings, error) {
	gcPercent, err := request.TakeInt("GOGC", defaultGCPercent)
	if err != nil {
		return nil, err
	}
	debug.SetGCPercent(gcPercent)
	return Settings{
		"go":         runtime.Version(),
		"GOMAXPROCS": strconv.Itoa(runtime.GOMAXPROCS(0)),
		"GOGC":       strconv.Itoa(gcPercent),
	}, nil
}

// defaultGCPercent is what both clients are fastest with at a still modest size. With Go's default of 100 the collector
// runs each time that a heap of a few megabytes has doubled, which cost franz-go 40 % of its records per CPU second on
// values of 100 bytes and sarama 15 %; 800 gave neither of them more than it took in memory. `-X GOGC=100` is Go's.
const defaultGCPercent = 400

func report(request *Request, settings Settings, first time.Time, last *Run) error {
	rss, err := maxRSSKB()
	if err != nil {
		return err
	}
	line := outcome{
		Records:       last.Tally.Records,
		Bytes:         last.Tally.Bytes,
		ValueBytes:    last.Tally.ValueBytes,
		FirstByteSum:  last.Tally.FirstByteSum,
		WallS:         last.Last.at.Sub(last.First.at).Seconds(),
		CPUS:          last.Last.cpuS - last.First.cpuS,
		HostCPUS:      last.Last.hostCPUS - last.First.hostCPUS,
		FirstRecordMs: float64(first.Sub(started).Microseconds()) / 1000,
		MaxRSSKB:      rss,
		Settings:      settings,
	}
	if request.Checksum {
		line.Checksum = &last.Tally.Checksum
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(text))
	return err
}

// versionOf is the version of a module that this program was built with.
func versionOf(module string) string {
	if info, isKnown := debug.ReadBuildInfo(); isKnown {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "unknown"
}
