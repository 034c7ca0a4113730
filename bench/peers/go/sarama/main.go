// Sarama is IBM's sarama on the contract of the comparison: a PartitionConsumer per partition, or a ConsumerGroup.
//
// What it is set to, and why:
//   - Each partition has a goroutine that takes what its Messages channel holds, so that what they share is touched
//     once per run of messages. sarama hands over one message at a time; it has no batches.
//   - GOGC is 400: see contract/outcome.go. ChannelBufferSize stays at 256, as 4096 made no difference;
//     `-X ChannelBufferSize=N`.
//   - metrics.UseNilMetrics, as sarama's documentation says for those who do not read its metrics.
//   - Its default protocol version, 2.8, has the newest Fetch that sarama sends (12).
//   - CRCs are always checked; sarama has no switch for that, so `--crc false` is refused. It has no fetch sessions.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/millstream/millstream/bench/peers/go/contract"
)

const channelBufferSize = 256

func main() {
	contract.Main("sarama", "github.com/IBM/sarama", consume)
}

func consume(request *contract.Request, settings contract.Settings, done func(contract.Run)) error {
	config, err := configuration(request, settings)
	if err != nil {
		return err
	}
	if request.Group != "" {
		run, err := consumeAsGroup(request, config)
		if err != nil {
			return err
		}
		done(run)
		return nil
	}
	for range request.Passes {
		run, err := consumePass(config, request)
		if err != nil {
			return err
		}
		done(run)
	}
	return nil
}

// consumePass has a consumer of its own: a PartitionConsumer that is closed may be known as consumed for a while still,
// and then its partition is refused.
func consumePass(config *sarama.Config, request *contract.Request) (contract.Run, error) {
	consumer, err := sarama.NewConsumer(request.Bootstrap, config)
	if err != nil {
		return contract.Run{}, err
	}
	run, err := consumePartitions(consumer, request)
	return run, errors.Join(err, consumer.Close())
}

func configuration(request *contract.Request, settings contract.Settings) (*sarama.Config, error) {
	if !request.CRC {
		return nil, errors.New("--crc false: sarama always checks CRCs")
	}
	bufferSize, err := request.TakeInt("ChannelBufferSize", channelBufferSize)
	if err != nil {
		return nil, err
	}
	if err := request.NothingLeft(); err != nil {
		return nil, err
	}
	metrics.UseNilMetrics = true
	// A response may be larger than what was asked for: its first batch always comes whole.
	sarama.MaxResponseSize = max(sarama.MaxResponseSize, 2*min(request.FetchMaxBytes, 1<<29))
	config := sarama.NewConfig()
	config.ChannelBufferSize = bufferSize
	config.Consumer.Fetch.MaxBytes = request.FetchMaxBytes
	config.Consumer.Fetch.Default = request.PartitionMaxBytes
	config.Consumer.Fetch.Min = request.FetchMinBytes
	config.Consumer.MaxWaitTime = request.FetchWait
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	isolationName := "ReadUncommitted"
	if request.ReadCommitted {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
		isolationName = "ReadCommitted"
	}
	if request.Group != "" {
		config.Consumer.Offsets.AutoCommit.Interval = request.CommitInterval
		settings["Consumer.Offsets.AutoCommit.Interval"] = request.CommitInterval.String()
		settings["group"] = request.Group
	}
	settings["Version"] = config.Version.String()
	settings["ChannelBufferSize"] = strconv.Itoa(bufferSize)
	settings["Consumer.Fetch.MaxBytes"] = strconv.Itoa(int(request.FetchMaxBytes))
	settings["Consumer.Fetch.Default"] = strconv.Itoa(int(request.PartitionMaxBytes))
	settings["Consumer.Fetch.Min"] = strconv.Itoa(int(request.FetchMinBytes))
	settings["Consumer.MaxWaitTime"] = request.FetchWait.String()
	settings["Consumer.IsolationLevel"] = isolationName
	settings["CRC"] = "always checked"
	settings["metrics.UseNilMetrics"] = "true"
	settings["MaxResponseSize"] = strconv.Itoa(int(sarama.MaxResponseSize))
	return config, config.Validate()
}

// consumePartitions reads every partition from its beginning.
func consumePartitions(consumer sarama.Consumer, request *contract.Request) (contract.Run, error) {
	reader := newReader(request)
	var open []sarama.PartitionConsumer
	for partition := range request.Partitions {
		one, err := consumer.ConsumePartition(request.Topic, partition, sarama.OffsetOldest)
		if err != nil {
			return contract.Run{}, fmt.Errorf("topic %s, partition %d: %w", request.Topic, partition, err)
		}
		open = append(open, one)
		tally := reader.addTally()
		go reader.read(tally, one.Messages(), func(*sarama.ConsumerMessage) {})
		go func() {
			for failed := range one.Errors() {
				reader.finish(failed)
			}
		}()
	}
	run, err := reader.wait()
	for _, one := range open {
		one.AsyncClose()
	}
	return run, err
}

// consumeAsGroup reads what the group gives to this member, which commits what it has read.
func consumeAsGroup(request *contract.Request, config *sarama.Config) (contract.Run, error) {
	group, err := sarama.NewConsumerGroup(request.Bootstrap, request.Group, config)
	if err != nil {
		return contract.Run{}, err
	}
	reader := newReader(request)
	session, leave := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() {
		defer close(left)
		// A rebalance ends a session; the next one goes on.
		for session.Err() == nil {
			if err := group.Consume(session, []string{request.Topic}, claims{reader}); err != nil {
				reader.finish(err)
				return
			}
		}
	}()
	go func() {
		for err := range group.Errors() {
			reader.finish(err)
		}
	}()
	run, err := reader.wait()
	leave()
	<-left
	return run, errors.Join(err, group.Close())
}

// claims reads each partition that the group gives.
type claims struct{ reader *reader }

func (claims) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c claims) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	c.reader.read(c.reader.addTally(), claim.Messages(), func(last *sarama.ConsumerMessage) {
		session.MarkMessage(last, "")
	})
	return nil
}
