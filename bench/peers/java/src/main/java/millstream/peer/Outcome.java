package millstream.peer;

import java.io.IOException;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** The line that a peer prints last. */
final class Outcome {
    private Outcome() {}

    static String json(Request request, Map<String, String> settings, Usage firstOfAll, Run run) throws IOException {
        Tally tally = run.tally();
        double firstRecordMs = (firstOfAll.nanoTime() - Usage.startNanoTime()) / 1e6;
        String checksum = request.checksum ? ",\"checksum\":" + Long.toUnsignedString(tally.checksum) : "";
        return String.format(
            Locale.ROOT,
            "{\"records\":%d,\"bytes\":%d,\"value_bytes\":%d,\"first_byte_sum\":%d%s,\"wall_s\":%.6f,\"cpu_s\":%.6f,"
                + "\"host_cpu_s\":%.6f,\"first_record_ms\":%.3f,\"max_rss_kb\":%d,\"settings\":{%s}}",
            tally.records,
            tally.bytes,
            tally.valueBytes,
            tally.firstByteSum,
            checksum,
            (run.last().nanoTime() - run.first().nanoTime()) / 1e9,
            run.last().cpuS() - run.first().cpuS(),
            run.last().hostCpuS() - run.first().hostCpuS(),
            firstRecordMs,
            Usage.maxRssKb(),
            object(settings));
    }

    private static String object(Map<String, String> members) {
        return members.entrySet().stream()
            .map(member -> quoted(member.getKey()) + ":" + quoted(member.getValue()))
            .collect(Collectors.joining(","));
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
