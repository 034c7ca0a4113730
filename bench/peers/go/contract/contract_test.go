package contract

import (
	"strings"
	"testing"
	"time"
)

var least = []string{"--bootstrap", "a:1,b:2", "--topic", "t", "--partitions", "4", "--records", "100"}

func TestWhatIsNotGivenIsAsInAllPeers(t *testing.T) {
	request, err := Parse(least)
	if err != nil {
		t.Fatal(err)
	}
	if len(request.Bootstrap) != 2 || request.Partitions != 4 || request.Records != 100 {
		t.Errorf("%+v", request)
	}
	if !request.CRC || request.FetchMaxBytes != 50<<20 || request.PartitionMaxBytes != 1<<20 {
		t.Errorf("%+v", request)
	}
	if request.FetchWait != 500*time.Millisecond || request.IdleTimeout != 30*time.Second || request.Passes != 1 {
		t.Errorf("%+v", request)
	}
}

func TestWhatMakesNoSenseIsNamed(t *testing.T) {
	for wanted, arguments := range map[string][]string{
		"--bootstrap":    {"--topic", "t"},
		"--isolation":    append([]string{"--isolation", "serializable"}, least...),
		"partitions":     append([]string{"--partitions", "-1"}, least...),
		"crc":            append([]string{"--crc", "maybe"}, least...),
		"name=value":     append([]string{"-X", "pools"}, least...),
		"--passes":       append([]string{"--passes", "2", "--group", "g"}, least...),
		"not an option":  append(append([]string{}, least...), "more"),
		"not defined":    append([]string{"--fetch-sessions", "1"}, least...),
		"fetch-wait-ms":  append([]string{"--fetch-wait-ms", "99999999999"}, least...),
		"--idle-timeout": append([]string{"--idle-timeout-s", "0"}, least...),
	} {
		if _, err := Parse(arguments); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%v: %v does not name %s", arguments, err, wanted)
		}
	}
}

func TestASettingThatNobodyTakesIsRefused(t *testing.T) {
	request, err := Parse(append([]string{"-X", "pools=true", "-X", "depth=3"}, least...))
	if err != nil {
		t.Fatal(err)
	}
	if pools, err := request.TakeBool("pools", false); !pools || err != nil {
		t.Error(pools, err)
	}
	if err := request.NothingLeft(); err == nil || !strings.Contains(err.Error(), "depth") {
		t.Error(err)
	}
	if depth, err := request.TakeInt("depth", 1); depth != 3 || err != nil {
		t.Error(depth, err)
	}
	if err := request.NothingLeft(); err != nil {
		t.Error(err)
	}
}

func TestIdleTimeIsNotBusy(t *testing.T) {
	busy, err := busySeconds("100 20 30 4000 500 6 7 8 99 99")
	if err != nil || busy != 1.71 {
		t.Error(busy, err)
	}
	if _, err := busySeconds("1 2 3"); err == nil {
		t.Error("three numbers are too few")
	}
}

func TestANullValueCountsAsARecordAndAddsNothingElse(t *testing.T) {
	tally := NewTally(&Request{Records: 2, Checksum: true})
	AddHeader(tally, "name", []byte("value"))
	AddHeader(tally, "none", nil)
	tally.Add([]byte("key"), nil)
	if tally.Records != 1 || tally.Bytes != 16 || tally.ValueBytes != 0 || tally.Checksum != 0 {
		t.Errorf("%+v", tally)
	}
	tally.Add(nil, []byte{})
	if emptyHash := uint64(0x2d06800538d394c2); tally.Checksum != emptyHash {
		t.Errorf("%x", tally.Checksum)
	}
}

func TestOnlyValuesWithTheTagAreSlowWhereThereIsOne(t *testing.T) {
	for arguments, wanted := range map[string][]bool{"": {true, true, true}, "--handler-tag 122": {false, false, true}} {
		request, err := Parse(append(strings.Fields(arguments), least...))
		if err != nil {
			t.Fatal(err)
		}
		for at, value := range []string{"", "az", "za"} {
			if NewTally(request).isSlow([]byte(value)) != wanted[at] {
				t.Errorf("%q %q", arguments, value)
			}
		}
	}
}

func TestARecordTooManyIsAnError(t *testing.T) {
	tally := NewTally(&Request{Records: 1})
	if isComplete, err := tally.IsComplete(); isComplete || err != nil {
		t.Error(isComplete, err)
	}
	tally.Add(nil, nil)
	if isComplete, err := tally.IsComplete(); !isComplete || err != nil {
		t.Error(isComplete, err)
	}
	tally.Add(nil, nil)
	if _, err := tally.IsComplete(); err == nil || err.Error() != "2 records came, and the topic should have 1" {
		t.Error(err)
	}
}
