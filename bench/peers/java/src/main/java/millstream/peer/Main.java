package millstream.peer;

import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteBufferDeserializer;

/**
 * KafkaConsumer on the contract of the comparison.
 *
 * <p>What it is set to, and why:
 *
 * <ul>
 *   <li>ByteBufferDeserializer: it hands over a view of what was received; ByteArrayDeserializer copies each value.
 *   <li>max.poll.records 10000 instead of 500: a quarter more records per CPU second; 100000 gave no more.
 *   <li>receive.buffer.bytes -1 instead of 64 KiB: as large as the system makes it, as the other peers leave it, and a
 *       quarter faster.
 *   <li>group.protocol classic, the default. The consumer of KIP-848, which has a second thread, was neither faster nor
 *       slower.
 *   <li>Everything that decides how much is asked of the broker is as in the other peers; check.crcs too. Metrics are
 *       not pushed (KIP-714).
 * </ul>
 */
public final class Main {
    private Main() {}

    /** Reads what the arguments ask for, and prints one line of JSON. */
    public static void main(String[] arguments) {
        try {
            boolean isVersion = List.of(arguments).contains("--version");
            System.out.println(isVersion ? "kafka-clients " + version() : consume(Request.parse(arguments)));
        } catch (UsageException | KafkaException | IOException | ReadException failure) {
            System.err.println("java: " + failure.getMessage());
            System.exit(1);
        }
    }

    /** The version of kafka-clients, which its jar holds. */
    private static String version() throws IOException {
        Properties properties = new Properties();
        try (InputStream resource = KafkaConsumer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            if (resource != null) {
                properties.load(resource);
            }
        }
        return properties.getProperty("version", "unknown");
    }

    private static String consume(Request request) throws IOException, ReadException {
        Map<String, String> settings = settings(request);
        Properties properties = new Properties();
        properties.putAll(settings);
        properties.put("bootstrap.servers", request.bootstrap);
        settings.put("java", Runtime.version().toString());
        settings.put("JVM flags", String.join(" ", ManagementFactory.getRuntimeMXBean().getInputArguments()));
        settings.put("processors", Integer.toString(Runtime.getRuntime().availableProcessors()));
        try (KafkaConsumer<ByteBuffer, ByteBuffer> consumer = new KafkaConsumer<>(properties)) {
            assign(consumer, request);
            Run run = pass(consumer, request);
            Usage first = run.first();
            for (int more = 1; more < request.passes; more++) {
                consumer.seekToBeginning(consumer.assignment());
                run = pass(consumer, request);
            }
            return Outcome.json(request, settings, first, run);
        }
    }

    private static Map<String, String> settings(Request request) {
        Map<String, String> settings = new TreeMap<>();
        settings.put("key.deserializer", ByteBufferDeserializer.class.getName());
        settings.put("value.deserializer", ByteBufferDeserializer.class.getName());
        settings.put("fetch.max.bytes", Integer.toString(request.fetchMaxBytes));
        settings.put("max.partition.fetch.bytes", Integer.toString(request.partitionMaxBytes));
        settings.put("fetch.max.wait.ms", Integer.toString(request.fetchWaitMs));
        settings.put("fetch.min.bytes", Integer.toString(request.fetchMinBytes));
        settings.put("isolation.level", request.isolation);
        settings.put("check.crcs", Boolean.toString(request.crc));
        settings.put("auto.offset.reset", "earliest");
        settings.put("allow.auto.create.topics", "false");
        settings.put("group.protocol", "classic");
        settings.put("enable.metrics.push", "false");
        settings.put("max.poll.records", "10000");
        settings.put("receive.buffer.bytes", "-1");
        settings.put("enable.auto.commit", Boolean.toString(request.group != null));
        if (request.group != null) {
            settings.put("group.id", request.group);
            settings.put("auto.commit.interval.ms", Integer.toString(request.commitIntervalMs));
        }
        settings.putAll(request.properties);
        return settings;
    }

    private static void assign(KafkaConsumer<ByteBuffer, ByteBuffer> consumer, Request request) {
        if (request.group != null) {
            consumer.subscribe(List.of(request.topic));
            return;
        }
        List<TopicPartition> partitions = IntStream.range(0, request.partitions)
            .mapToObj(partition -> new TopicPartition(request.topic, partition))
            .toList();
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
    }

    /** Reads until all records have come. */
    private static Run pass(KafkaConsumer<ByteBuffer, ByteBuffer> consumer, Request request)
            throws IOException, ReadException {
        Tally tally = new Tally(request);
        Usage first = null;
        while (tally.records < request.records) {
            ConsumerRecords<ByteBuffer, ByteBuffer> polled = poll(consumer, request, tally);
            if (first == null) {
                first = Usage.begin();
            }
            for (TopicPartition partition : polled.partitions()) {
                for (ConsumerRecord<ByteBuffer, ByteBuffer> record : polled.records(partition)) {
                    tally.add(record);
                }
            }
        }
        Usage last = Usage.end();
        if (tally.records > request.records) {
            throw new ReadException(
                tally.records + " records came, and the topic should have " + request.records);
        }
        return new Run(tally, first, last);
    }

    private static ConsumerRecords<ByteBuffer, ByteBuffer> poll(
            KafkaConsumer<ByteBuffer, ByteBuffer> consumer, Request request, Tally tally) throws ReadException {
        Duration timeout = Duration.ofSeconds(request.idleTimeoutS);
        long deadline = System.nanoTime() + timeout.toNanos();
        do {
            // An empty poll may come back early.
            ConsumerRecords<ByteBuffer, ByteBuffer> polled = consumer.poll(timeout);
            if (!polled.isEmpty()) {
                return polled;
            }
        } while (System.nanoTime() < deadline);
        throw new ReadException("after " + tally.records + " records: none came for " + timeout.toSeconds() + " s");
    }

    /** Not what was asked for came. */
    private static final class ReadException extends Exception {
        private static final long serialVersionUID = 1L;

        ReadException(String message) {
            super(message);
        }
    }
}
