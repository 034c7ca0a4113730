package contract

import (
	"fmt"
	"time"

	"github.com/zeebo/xxh3"
)

// Tally counts what came, and by that touches every value.
type Tally struct {
	Records      uint64
	Bytes        uint64
	ValueBytes   uint64
	FirstByteSum uint64
	Checksum     uint64

	wanted       uint64
	withChecksum bool
	handler      time.Duration
	handlerTag   int
	// touched keeps what is only looked at from being optimised away.
	touched byte
}

// NewTally is a tally for one pass of a request.
func NewTally(request *Request) *Tally {
	return &Tally{
		wanted: request.Records, withChecksum: request.Checksum,
		handler: request.Handler, handlerTag: request.HandlerTag,
	}
}

// IsComplete says whether all records have come.
//
// It fails if there were more than the topic should have.
func (tally *Tally) IsComplete() (bool, error) {
	if tally.Records > tally.wanted {
		return true, fmt.Errorf("%d records came, and the topic should have %d", tally.Records, tally.wanted)
	}
	return tally.Records == tally.wanted, nil
}

// Add counts one record, after its headers.
func (tally *Tally) Add(key, value []byte) {
	tally.Records++
	tally.Bytes += uint64(len(key) + len(value))
	tally.ValueBytes += uint64(len(value))
	if len(key) > 0 {
		tally.touched ^= key[0]
	}
	if len(value) > 0 {
		tally.FirstByteSum += uint64(value[0])
	}
	if tally.withChecksum && value != nil {
		tally.Checksum += xxh3.Hash(value)
	}
	if tally.handler > 0 && tally.isSlow(value) {
		spin(tally.handler)
	}
}

func (tally *Tally) isSlow(value []byte) bool {
	return tally.handlerTag < 0 || len(value) > 0 && int(value[0]) == tally.handlerTag
}

// AddHeader counts one header of a record. The clients differ in how they hand over its key.
func AddHeader[Key string | []byte](tally *Tally, key Key, value []byte) {
	tally.Bytes += uint64(len(key) + len(value))
	if len(key) > 0 {
		tally.touched ^= key[0]
	}
	if len(value) > 0 {
		tally.touched ^= value[0]
	}
}

// Merge adds what another goroutine has counted.
func (tally *Tally) Merge(other *Tally) {
	tally.Records += other.Records
	tally.Bytes += other.Bytes
	tally.ValueBytes += other.ValueBytes
	tally.FirstByteSum += other.FirstByteSum
	tally.Checksum += other.Checksum
}

func spin(duration time.Duration) {
	for start := time.Now(); time.Since(start) < duration; {
	}
}
