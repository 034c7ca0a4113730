// Franz is franz-go's kgo.Client on the contract of the comparison.
//
// What it is set to, and why:
//   - PollFetches, walked by partition: a whole buffered fetch changes hands at once, without the copy of PollRecords
//     into smaller ones and without an iterator per record.
//   - GOGC is 400 (see contract/outcome.go), and record pools (WithPools) are off: each record must then be given back
//     on its own, which is faster than the collector at Go's default, and not at 400. `-X pools=true` turns them on.
//   - Everything that decides how much is asked of the broker is as in the other peers. franz-go fetches ahead of the
//     application by itself, one fetch per broker.
//   - CRCs are checked unless the request says otherwise. KIP-714 metrics are not pushed.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream/millstream/bench/peers/go/contract"
)

func main() {
	contract.Main("franz-go", "github.com/twmb/franz-go", consume)
}

func consume(request *contract.Request, settings contract.Settings, done func(contract.Run)) error {
	withPools, err := request.TakeBool("pools", false)
	if err != nil {
		return err
	}
	if err := request.NothingLeft(); err != nil {
		return err
	}
	options := fetchOptions(request, settings)
	options = append(options, assignment(request, settings)...)
	if withPools {
		options = append(options, kgo.WithPools(&recordPool{}))
	}
	settings["WithPools"] = strconv.FormatBool(withPools)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	for range request.Passes {
		run, err := pass(client, request, withPools)
		if err != nil {
			return err
		}
		done(run)
		if request.Group != "" {
			// It goes on by itself only up to what the poll before the last one returned.
			return client.CommitUncommittedOffsets(context.Background())
		}
		rewind(client, request)
	}
	return nil
}

// fetchOptions are those that decide what is asked of the broker, and what is done with the answer.
func fetchOptions(request *contract.Request, settings contract.Settings) []kgo.Opt {
	isolation, isolationName := kgo.ReadUncommitted(), "ReadUncommitted"
	if request.ReadCommitted {
		isolation, isolationName = kgo.ReadCommitted(), "ReadCommitted"
	}
	// A response may be larger than what was asked for: its first batch always comes whole.
	brokerMaxReadBytes := max(100<<20, 2*min(request.FetchMaxBytes, 1<<29))
	options := []kgo.Opt{
		kgo.SeedBrokers(request.Bootstrap...),
		kgo.FetchMaxBytes(request.FetchMaxBytes),
		kgo.FetchMaxPartitionBytes(request.PartitionMaxBytes),
		kgo.FetchMinBytes(request.FetchMinBytes),
		kgo.FetchMaxWait(request.FetchWait),
		kgo.FetchIsolationLevel(isolation),
		kgo.BrokerMaxReadBytes(brokerMaxReadBytes),
		kgo.DisableClientMetrics(),
	}
	if !request.CRC {
		options = append(options, kgo.DisableFetchCRCValidation())
	}
	settings["FetchMaxBytes"] = strconv.Itoa(int(request.FetchMaxBytes))
	settings["FetchMaxPartitionBytes"] = strconv.Itoa(int(request.PartitionMaxBytes))
	settings["FetchMinBytes"] = strconv.Itoa(int(request.FetchMinBytes))
	settings["FetchMaxWait"] = request.FetchWait.String()
	settings["FetchIsolationLevel"] = isolationName
	settings["BrokerMaxReadBytes"] = strconv.Itoa(int(brokerMaxReadBytes))
	settings["DisableFetchCRCValidation"] = strconv.FormatBool(!request.CRC)
	settings["DisableClientMetrics"] = "true"
	return options
}

func assignment(request *contract.Request, settings contract.Settings) []kgo.Opt {
	if request.Group != "" {
		settings["ConsumerGroup"] = request.Group
		settings["AutoCommitInterval"] = request.CommitInterval.String()
		return []kgo.Opt{
			kgo.ConsumerGroup(request.Group),
			kgo.ConsumeTopics(request.Topic),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
			kgo.AutoCommitInterval(request.CommitInterval),
		}
	}
	partitions := map[int32]kgo.Offset{}
	for partition := range request.Partitions {
		partitions[partition] = kgo.NewOffset().AtStart()
	}
	settings["ConsumePartitions"] = fmt.Sprintf("0 to %d", request.Partitions-1)
	return []kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{request.Topic: partitions})}
}

// pass reads until all records have come.
func pass(client *kgo.Client, request *contract.Request, withPools bool) (contract.Run, error) {
	run := contract.Run{Tally: contract.NewTally(request)}
	for isComplete := false; !isComplete; {
		fetches, err := poll(client, request.IdleTimeout)
		if err != nil {
			return run, fmt.Errorf("after %d records: %w", run.Tally.Records, err)
		}
		if run.Tally.Records == 0 {
			if run.First, err = contract.Begin(); err != nil {
				return run, err
			}
		}
		fetches.EachPartition(func(partition kgo.FetchTopicPartition) {
			add(run.Tally, partition.Records)
		})
		if withPools {
			fetches.EachRecord((*kgo.Record).Recycle)
		}
		if isComplete, err = run.Tally.IsComplete(); err != nil {
			return run, err
		}
	}
	var err error
	run.Last, err = contract.End()
	return run, err
}

// poll waits for records; without any within the timeout it fails.
func poll(client *kgo.Client, timeout time.Duration) (kgo.Fetches, error) {
	limited, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		fetches := client.PollFetches(limited)
		for _, failed := range fetches.Errors() {
			if errors.Is(failed.Err, context.DeadlineExceeded) {
				return nil, fmt.Errorf("none came for %v", timeout)
			}
			return nil, fmt.Errorf("topic %s, partition %d: %w", failed.Topic, failed.Partition, failed.Err)
		}
		if !fetches.Empty() {
			return fetches, nil
		}
	}
}

func add(tally *contract.Tally, records []*kgo.Record) {
	for _, record := range records {
		for _, header := range record.Headers {
			contract.AddHeader(tally, header.Key, header.Value)
		}
		tally.Add(record.Key, record.Value)
	}
}

// rewind goes back to the beginning of all partitions. What is buffered is dropped.
func rewind(client *kgo.Client, request *contract.Request) {
	offsets := map[int32]kgo.EpochOffset{}
	for partition := range request.Partitions {
		offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: 0}
	}
	client.SetOffsets(map[string]map[int32]kgo.EpochOffset{request.Topic: offsets})
}

// recordPool gives the records of one batch to a later one that has no more of them.
type recordPool struct{ pool sync.Pool }

func (pool *recordPool) GetRecords(count int) []kgo.Record {
	if records, isOne := pool.pool.Get().(*[]kgo.Record); isOne {
		return slices.Grow((*records)[:0], count)
	}
	return make([]kgo.Record, 0, count)
}

func (pool *recordPool) PutRecords(records []kgo.Record) {
	pool.pool.Put(&records)
}
