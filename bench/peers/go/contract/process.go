package contract

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of /proc/stat on every Linux that Go runs on.
const ticksPerSecond = 100

// started is as near to the start of the process as Go allows: packages are initialised before main.
var started = time.Now()

// Stamp is a moment, and what had been used by then.
type Stamp struct {
	at       time.Time
	cpuS     float64
	hostCPUS float64
}

// Begin is the stamp where what is measured begins. What it costs to read comes before.
func Begin() (Stamp, error) {
	hostCPUS, err := hostCPUS()
	if err != nil {
		return Stamp{}, err
	}
	cpuS, err := cpuS()
	return Stamp{at: time.Now(), cpuS: cpuS, hostCPUS: hostCPUS}, err
}

// End is the stamp where what is measured ends. What it costs to read comes after.
func End() (Stamp, error) {
	at := time.Now()
	cpuS, err := cpuS()
	if err != nil {
		return Stamp{}, err
	}
	hostCPUS, err := hostCPUS()
	return Stamp{at: at, cpuS: cpuS, hostCPUS: hostCPUS}, err
}

// cpuS is the CPU time of all threads of this process, user and system.
func cpuS() (float64, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds(), nil
}

// hostCPUS is the time that all CPUs of the host were not idle.
func hostCPUS() (float64, error) {
	line, err := lineOf("/proc/stat", "cpu ")
	if err != nil {
		return 0, err
	}
	return busySeconds(line)
}

// busySeconds reads user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in the first two.
func busySeconds(line string) (float64, error) {
	const idle, iowait, columns = 3, 4, 8
	fields := strings.Fields(line)
	if len(fields) < columns {
		return 0, fmt.Errorf("/proc/stat: %q has fewer than %d numbers", line, columns)
	}
	var ticks uint64
	for column, field := range fields[:columns] {
		value, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %q: %w", line, err)
		}
		if column != idle && column != iowait {
			ticks += value
		}
	}
	return float64(ticks) / ticksPerSecond, nil
}

// maxRSSKB is the largest resident size so far. Not from getrusage, which counts what the parent had resident when it
// forked.
func maxRSSKB() (uint64, error) {
	line, err := lineOf("/proc/self/status", "VmHWM:")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
}

// lineOf is what follows a prefix in the first line of a file that has it.
func lineOf(path, prefix string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, isIt := strings.CutPrefix(lines.Text(), prefix); isIt {
			return rest, nil
		}
	}
	return "", fmt.Errorf("%s has no line that begins with %q", path, prefix)
}
