package millstream.peer;

import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What one run is asked for. */
final class Request {
    private static final List<String> ISOLATION_LEVELS = List.of("read_uncommitted", "read_committed");

    String bootstrap;
    String topic;
    int partitions;
    long records;
    boolean checksum;
    String group;
    int commitIntervalMs = 1000;
    boolean crc = true;
    int handlerNs;
    /** The first byte of the values that take the handler so long; below zero stands for all of them. */
    int handlerTag = -1;
    int fetchMaxBytes = 52428800;
    int partitionMaxBytes = 1048576;
    int fetchWaitMs = 500;
    int fetchMinBytes = 1;
    String isolation = "read_uncommitted";
    int idleTimeoutS = 30;
    int passes = 1;
    /** Consumer properties, set after and over all others. */
    final Map<String, String> properties = new TreeMap<>();

    /** Reads the arguments of the program. */
    static Request parse(String[] arguments) {
        Request request = new Request();
        Iterator<String> rest = List.of(arguments).iterator();
        while (rest.hasNext()) {
            request.take(rest.next(), rest);
        }
        request.check();
        return request;
    }

    private void take(String name, Iterator<String> rest) {
        switch (name) {
            case "--bootstrap" -> bootstrap = value(name, rest);
            case "--topic" -> topic = value(name, rest);
            case "--partitions" -> partitions = number(name, rest);
            case "--records" -> records = recordCount(name, rest);
            case "--checksum" -> checksum = true;
            case "--group" -> group = value(name, rest);
            case "--commit-interval-ms" -> commitIntervalMs = number(name, rest);
            case "--crc" -> crc = flag(name, rest);
            case "--handler-ns" -> handlerNs = number(name, rest);
            case "--handler-tag" -> handlerTag = number(name, rest);
            case "--fetch-max-bytes" -> fetchMaxBytes = number(name, rest);
            case "--partition-max-bytes" -> partitionMaxBytes = number(name, rest);
            case "--fetch-wait-ms" -> fetchWaitMs = number(name, rest);
            case "--fetch-min-bytes" -> fetchMinBytes = number(name, rest);
            case "--isolation" -> isolation = value(name, rest);
            case "--idle-timeout-s" -> idleTimeoutS = number(name, rest);
            case "--passes" -> passes = number(name, rest);
            case "-X" -> {
                String[] pair = value(name, rest).split("=", 2);
                require(pair.length == 2, "-X wants name=value");
                properties.put(pair[0], pair[1]);
            }
            default -> throw new UsageException(name + " is not an option");
        }
    }

    private void check() {
        require(bootstrap != null, "--bootstrap HOST:PORT is missing");
        require(topic != null, "--topic NAME is missing");
        require(partitions > 0, "--partitions N is missing");
        require(records > 0, "--records N is missing");
        require(passes > 0, "--passes 0: use at least 1");
        require(idleTimeoutS > 0, "--idle-timeout-s 0: use at least 1");
        require(ISOLATION_LEVELS.contains(isolation), "--isolation " + isolation + ": use one of " + ISOLATION_LEVELS);
        require(
            properties.keySet().stream().noneMatch(name -> name.endsWith(".deserializer")),
            "-X: the deserializers can't be chosen");
        require(
            group == null || passes == 1,
            "--passes and --group exclude each other: a group goes on from what it has committed");
    }

    private static String value(String name, Iterator<String> rest) {
        require(rest.hasNext(), name + " wants a value");
        return rest.next();
    }

    private static int number(String name, Iterator<String> rest) {
        String text = value(name, rest);
        try {
            int number = Integer.parseInt(text);
            require(number >= 0, name + " " + text + ": below zero");
            return number;
        } catch (NumberFormatException wrong) {
            throw new UsageException(name + " " + text + ": not a number from 0 to " + Integer.MAX_VALUE);
        }
    }

    private static long recordCount(String name, Iterator<String> rest) {
        String text = value(name, rest);
        try {
            return Long.parseLong(text);
        } catch (NumberFormatException wrong) {
            throw new UsageException(name + " " + text + ": not a number");
        }
    }

    private static boolean flag(String name, Iterator<String> rest) {
        String text = value(name, rest);
        require(text.equals("true") || text.equals("false"), name + " " + text + ": use true or false");
        return text.equals("true");
    }

    private static void require(boolean holds, String message) {
        if (!holds) {
            throw new UsageException(message);
        }
    }
}
