package millstream.peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A moment, and what had been used by then.
 *
 * @param nanoTime the moment, as {@link System#nanoTime}
 * @param cpuS     CPU time of all threads of this process, user and system
 * @param hostCpuS time that all CPUs of the host were not idle
 */
record Usage(long nanoTime, double cpuS, double hostCpuS) {
    /** The unit of times in /proc on every Linux that Java runs on. */
    private static final double TICKS_PER_S = 100;

    // Columns of /proc/self/stat after the name of the program, which may itself hold spaces.
    private static final int UTIME = 11;
    private static final int STIME = 12;
    private static final int STARTTIME = 19;

    // Columns of the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. Guests are counted
    // in the first two.
    private static final int IDLE = 3;
    private static final int IOWAIT = 4;
    private static final int HOST_COLUMNS = 8;

    /** Where what is measured begins. What it costs to read comes before. */
    static Usage begin() throws IOException {
        double hostCpuS = readHostCpuS();
        double cpuS = readCpuS();
        return new Usage(System.nanoTime(), cpuS, hostCpuS);
    }

    /** Where what is measured ends. What it costs to read comes after. */
    static Usage end() throws IOException {
        long nanoTime = System.nanoTime();
        double cpuS = readCpuS();
        return new Usage(nanoTime, cpuS, readHostCpuS());
    }

    /**
     * When this process started, as {@link System#nanoTime}, to 10 ms. Both count from the start of the machine, unless
     * it was suspended.
     */
    static long startNanoTime() throws IOException {
        return (long) (Long.parseLong(ownStat()[STARTTIME]) / TICKS_PER_S * 1e9);
    }

    /** The largest resident size so far, in KiB. */
    static long maxRssKb() throws IOException {
        return Long.parseLong(lineOf("/proc/self/status", "VmHWM:").replace("kB", "").strip());
    }

    private static double readCpuS() throws IOException {
        String[] own = ownStat();
        return (Long.parseLong(own[UTIME]) + Long.parseLong(own[STIME])) / TICKS_PER_S;
    }

    private static double readHostCpuS() throws IOException {
        return busyTicks(lineOf("/proc/stat", "cpu ")) / TICKS_PER_S;
    }

    private static String[] ownStat() throws IOException {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        return stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    }

    private static long busyTicks(String line) {
        String[] columns = line.strip().split(" +");
        long ticks = 0;
        for (int column = 0; column < HOST_COLUMNS; column++) {
            if (column != IDLE && column != IOWAIT) {
                ticks += Long.parseLong(columns[column]);
            }
        }
        return ticks;
    }

    private static String lineOf(String file, String prefix) throws IOException {
        for (String line : Files.readAllLines(Path.of(file))) {
            if (line.startsWith(prefix)) {
                return line.substring(prefix.length());
            }
        }
        throw new IOException(file + " has no line that begins with " + prefix);
    }
}
