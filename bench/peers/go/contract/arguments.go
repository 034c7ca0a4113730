// Package contract is what every peer of the comparison gets and prints: arguments, tally, usage of the process, and
// the line that says how it went.
package contract

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Request is what one run is asked for.
type Request struct {
	Bootstrap      []string
	Topic          string
	Partitions     int32
	Records        uint64
	Checksum       bool
	Group          string
	CommitInterval time.Duration
	CRC            bool
	Handler        time.Duration
	// HandlerTag is the first byte of the values that take the handler so long; -1 stands for all of them.
	HandlerTag        int
	FetchMaxBytes     int32
	PartitionMaxBytes int32
	FetchWait         time.Duration
	FetchMinBytes     int32
	ReadCommitted     bool
	IdleTimeout       time.Duration
	Passes            int
	// Extra holds the -X arguments that nobody has taken yet.
	Extra map[string]string
}

// ErrVersion is what Parse returns when nothing but the version is asked for.
var ErrVersion = errors.New("--version")

// Parse reads the arguments of a peer program, without the program's own name.
func Parse(arguments []string) (*Request, error) {
	request := &Request{Extra: map[string]string{}}
	var bootstrap, isolation string
	var version bool
	partitions, idleTimeoutS := number(0), number(30)
	commitIntervalMs, fetchWaitMs := number(1000), number(500)
	fetchMaxBytes, partitionMaxBytes, fetchMinBytes := number(52428800), number(1048576), number(1)
	handlerNs, passes := number(0), number(1)
	request.HandlerTag = -1
	request.CRC = true

	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	flags.StringVar(&bootstrap, "bootstrap", "", "brokers, as HOST:PORT, separated by commas")
	flags.StringVar(&request.Topic, "topic", "", "the topic to read")
	flags.Var(&partitions, "partitions", "how many partitions it has")
	flags.Uint64Var(&request.Records, "records", 0, "stop after this many records in all")
	flags.BoolVar(&request.Checksum, "checksum", false, "sum up the XXH3 of every value")
	flags.StringVar(&request.Group, "group", "", "read as a member of this group")
	flags.Var(&commitIntervalMs, "commit-interval-ms", "how often a group member commits")
	// Not a Bool: those do not take their value from the next argument.
	flags.Func("crc", "whether to check the CRC of record batches: true or false", func(text string) (err error) {
		request.CRC, err = strconv.ParseBool(text)
		return err
	})
	flags.Var(&handlerNs, "handler-ns", "spin this long for each record")
	flags.Func("handler-tag", "spin only for values that begin with this byte", func(text string) error {
		tag, err := strconv.ParseUint(text, 10, 8)
		request.HandlerTag = int(tag)
		return err
	})
	flags.Var(&fetchMaxBytes, "fetch-max-bytes", "most bytes of a Fetch response")
	flags.Var(&partitionMaxBytes, "partition-max-bytes", "most bytes of one partition in a Fetch response")
	flags.Var(&fetchWaitMs, "fetch-wait-ms", "how long a broker may wait for fetch-min-bytes")
	flags.Var(&fetchMinBytes, "fetch-min-bytes", "a broker answers when it has this many bytes")
	flags.StringVar(&isolation, "isolation", "read_uncommitted", "read_uncommitted or read_committed")
	flags.Var(&idleTimeoutS, "idle-timeout-s", "give up after this long without a record")
	flags.Var(&passes, "passes", "read everything this many times, and report the last")
	flags.Func("X", "name=value of this client", request.addExtra)
	flags.BoolVar(&version, "version", false, "print the client's name and version")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if version {
		return nil, ErrVersion
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not an option", flags.Arg(0))
	}
	if bootstrap != "" {
		request.Bootstrap = strings.Split(bootstrap, ",")
	}
	request.Partitions = int32(partitions)
	request.Handler = time.Duration(handlerNs)
	request.CommitInterval = time.Duration(commitIntervalMs) * time.Millisecond
	request.FetchWait = time.Duration(fetchWaitMs) * time.Millisecond
	request.IdleTimeout = time.Duration(idleTimeoutS) * time.Second
	request.FetchMaxBytes, request.PartitionMaxBytes = int32(fetchMaxBytes), int32(partitionMaxBytes)
	request.FetchMinBytes, request.Passes = int32(fetchMinBytes), int(passes)
	switch isolation {
	case "read_uncommitted":
	case "read_committed":
		request.ReadCommitted = true
	default:
		return nil, fmt.Errorf("--isolation %s: use read_uncommitted or read_committed", isolation)
	}
	return request, request.check()
}

// Take removes a -X argument and returns it, or fallback if it was not given.
func (request *Request) Take(name, fallback string) string {
	value, isGiven := request.Extra[name]
	if !isGiven {
		return fallback
	}
	delete(request.Extra, name)
	return value
}

// TakeInt removes a -X argument and returns it as a number above zero, or fallback if it was not given.
func (request *Request) TakeInt(name string, fallback int) (int, error) {
	value, err := strconv.Atoi(request.Take(name, strconv.Itoa(fallback)))
	if err != nil || value <= 0 {
		return 0, fmt.Errorf("-X %s: not a number above zero", name)
	}
	return value, nil
}

// TakeBool removes a -X argument and returns it as true or false, or fallback if it was not given.
func (request *Request) TakeBool(name string, fallback bool) (bool, error) {
	value, err := strconv.ParseBool(request.Take(name, strconv.FormatBool(fallback)))
	if err != nil {
		return false, fmt.Errorf("-X %s: neither true nor false", name)
	}
	return value, nil
}

// NothingLeft fails if there is a -X argument that nobody has taken.
func (request *Request) NothingLeft() error {
	for name := range request.Extra {
		return fmt.Errorf("-X %s: this client has no such setting here", name)
	}
	return nil
}

func (request *Request) addExtra(text string) error {
	name, value, isPair := strings.Cut(text, "=")
	if !isPair || name == "" {
		return fmt.Errorf("%q is not name=value", text)
	}
	request.Extra[name] = value
	return nil
}

func (request *Request) check() error {
	switch {
	case len(request.Bootstrap) == 0:
		return errors.New("--bootstrap HOST:PORT is missing")
	case request.Topic == "":
		return errors.New("--topic NAME is missing")
	case request.Partitions == 0:
		return errors.New("--partitions N is missing")
	case request.Records == 0:
		return errors.New("--records N is missing")
	case request.Passes == 0:
		return errors.New("--passes 0: use at least 1")
	case request.IdleTimeout == 0:
		return errors.New("--idle-timeout-s 0: use at least 1")
	case request.Group != "" && request.Passes > 1:
		return errors.New("--passes and --group exclude each other: a group goes on from what it has committed")
	}
	return nil
}

// number is an int32 that is not negative, as most settings of Kafka are.
type number int32

func (n *number) String() string { return strconv.Itoa(int(*n)) }

func (n *number) Set(text string) error {
	value, err := strconv.ParseInt(text, 10, 32)
	if err != nil || value < 0 {
		return errors.New("not a number from 0 to 2147483647")
	}
	*n = number(value)
	return nil
}
