package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/millstream/millstream/bench/peers/go/contract"
)

// runMessagesMax is how many messages of one partition are taken at once.
const runMessagesMax = 512

// idleCheck is how often it is looked whether records still come.
const idleCheck = 250 * time.Millisecond

// reader counts what comes out of the channels of all partitions, each by its own goroutine. Each says how many it has
// counted, so that the one that counts the last record knows that all others are done.
type reader struct {
	request *contract.Request
	counted atomic.Uint64
	begin   sync.Once
	end     sync.Once
	ended   chan struct{}

	active      sync.WaitGroup
	tallies     sync.Mutex
	all         []*contract.Tally
	first, last contract.Stamp
	err         error
}

func newReader(request *contract.Request) *reader {
	return &reader{request: request, ended: make(chan struct{})}
}

// addTally is the tally of one more partition, which read must be called with.
func (reader *reader) addTally() *contract.Tally {
	reader.active.Add(1)
	tally := contract.NewTally(reader.request)
	reader.tallies.Lock()
	defer reader.tallies.Unlock()
	reader.all = append(reader.all, tally)
	return tally
}

// read takes runs of messages until the channel is closed or the reader has ended. handled is given the last message of
// each run.
func (reader *reader) read(
	tally *contract.Tally,
	messages <-chan *sarama.ConsumerMessage,
	handled func(last *sarama.ConsumerMessage),
) {
	defer reader.active.Done()
	run := make([]*sarama.ConsumerMessage, 0, runMessagesMax)
	for {
		select {
		case <-reader.ended:
			return
		case message, isOpen := <-messages:
			if !isOpen {
				return
			}
			run = takeReady(append(run[:0], message), messages)
		}
		reader.begin.Do(func() { reader.stamp(&reader.first, contract.Begin) })
		for _, message := range run {
			for _, header := range message.Headers {
				contract.AddHeader(tally, header.Key, header.Value)
			}
			tally.Add(message.Key, message.Value)
		}
		handled(run[len(run)-1])
		after := reader.counted.Add(uint64(len(run)))
		if wanted := reader.request.Records; after >= wanted && after-uint64(len(run)) < wanted {
			reader.stamp(&reader.last, contract.End)
			reader.finish(nil)
		}
	}
}

// takeReady fills a run with what a channel holds already.
func takeReady(run []*sarama.ConsumerMessage, messages <-chan *sarama.ConsumerMessage) []*sarama.ConsumerMessage {
	for len(run) < cap(run) {
		select {
		case message, isOpen := <-messages:
			if !isOpen {
				return run
			}
			run = append(run, message)
		default:
			return run
		}
	}
	return run
}

func (reader *reader) stamp(stamp *contract.Stamp, read func() (contract.Stamp, error)) {
	now, err := read()
	if err != nil {
		reader.finish(err)
	}
	*stamp = now
}

// finish ends the reader, with an error or without; what comes first counts.
func (reader *reader) finish(err error) {
	reader.end.Do(func() {
		reader.err = err
		close(reader.ended)
	})
}

// wait returns when all records are counted, something failed, or none have come for too long.
func (reader *reader) wait() (contract.Run, error) {
	check := time.NewTicker(idleCheck)
	defer check.Stop()
	seen, since := uint64(0), time.Now()
	for {
		select {
		case <-reader.ended:
			if reader.err != nil {
				return contract.Run{}, fmt.Errorf("after %d records: %w", reader.counted.Load(), reader.err)
			}
			return reader.result()
		case <-check.C:
			if counted := reader.counted.Load(); counted != seen {
				seen, since = counted, time.Now()
			} else if time.Since(since) > reader.request.IdleTimeout {
				reader.finish(fmt.Errorf("none came for %v", reader.request.IdleTimeout))
			}
		}
	}
}

func (reader *reader) result() (contract.Run, error) {
	// Only if more came than should have are there any that have not ended.
	reader.active.Wait()
	total := contract.NewTally(reader.request)
	reader.tallies.Lock()
	defer reader.tallies.Unlock()
	for _, tally := range reader.all {
		total.Merge(tally)
	}
	_, err := total.IsComplete()
	return contract.Run{Tally: total, First: reader.first, Last: reader.last}, err
}
