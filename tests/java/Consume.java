import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topics and prints what it read: without {@code --group} all partitions from their beginning to the end that
 * they had at the start, with it as a member until {@code --records} came or {@code --idle-ms} brought none.
 */
public final class Consume {
    private static final Duration POLL = Duration.ofMillis(100);

    /** What came from one partition. */
    private static final class Part {
        final Tally tally = new Tally();
        long contentChecksum;
        long firstOffset = -1;
        long lastOffset = -1;
        boolean ordered = true;
    }

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final List<String> topics;
    private final boolean whole;
    private final Map<TopicPartition, Part> parts = new HashMap<>();
    private long records;

    private Consume(Options options) {
        topics = Arrays.asList(options.text("topic").split(","));
        whole = options.number("content", 0) == 1;
        Map<String, String> defaults = new HashMap<>(Map.of(
            "auto.offset.reset", "earliest",
            "isolation.level", options.text("isolation", "read_uncommitted"),
            "max.poll.records", "10000"));
        String group = options.text("group", null);
        if (group == null) {
            defaults.put("enable.auto.commit", "false");
        } else {
            defaults.put("group.id", group);
        }
        consumer = new KafkaConsumer<>(
            options.configsOver(defaults), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    public static void main(String[] arguments) {
        Options options = new Options(arguments);
        Consume consume = new Consume(options);
        if (options.text("group", null) == null) {
            consume.readToEnd();
        } else {
            consume.readAsMember(options.number("records", Long.MAX_VALUE), options.number("idle-ms", 10_000));
        }
        // In a group this commits the positions, unless enable.auto.commit says otherwise.
        consume.consumer.close();
        consume.print();
    }

    private void readToEnd() {
        List<TopicPartition> all = new ArrayList<>();
        for (String topic : topics) {
            for (PartitionInfo partition : consumer.partitionsFor(topic)) {
                all.add(new TopicPartition(topic, partition.partition()));
            }
        }
        consumer.assign(all);
        consumer.seekToBeginning(all);
        Map<TopicPartition, Long> ends = new HashMap<>(consumer.endOffsets(all));
        dropReached(ends);
        while (!ends.isEmpty()) {
            poll();
            dropReached(ends);
        }
    }

    /** Positions are compared, not records: the last offsets of a partition may hold none. */
    private void dropReached(Map<TopicPartition, Long> ends) {
        Collection<TopicPartition> done = new ArrayList<>();
        ends.forEach((partition, end) -> {
            if (consumer.position(partition) >= end) {
                done.add(partition);
            }
        });
        consumer.pause(done);
        ends.keySet().removeAll(done);
    }

    private void readAsMember(long wanted, long idleMillis) {
        consumer.subscribe(topics);
        long lastNanos = System.nanoTime();
        while (records < wanted && System.nanoTime() - lastNanos < idleMillis * 1_000_000L) {
            long before = records;
            poll();
            if (records != before) {
                lastNanos = System.nanoTime();
            }
        }
    }

    private void poll() {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
            Part part = parts.computeIfAbsent(new TopicPartition(record.topic(), record.partition()), p -> new Part());
            part.tally.add(record.value());
            part.ordered &= record.offset() > part.lastOffset;
            part.lastOffset = record.offset();
            if (part.firstOffset < 0) {
                part.firstOffset = record.offset();
            }
            if (whole) {
                part.contentChecksum += Tally.hash(canonical(record));
            }
            records++;
        }
    }

    /** Everything that a consumer sees of a record, big endian, each length before its bytes, -1 for null. */
    private static byte[] canonical(ConsumerRecord<byte[], byte[]> record) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeInt(record.partition());
            out.writeLong(record.offset());
            out.writeLong(record.timestamp());
            writeBytes(out, record.key());
            writeBytes(out, record.value());
            Header[] headers = record.headers().toArray();
            out.writeInt(headers.length);
            for (Header header : headers) {
                writeBytes(out, header.key().getBytes(StandardCharsets.UTF_8));
                writeBytes(out, header.value());
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        return bytes.toByteArray();
    }

    private static void writeBytes(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
            out.write(bytes);
        }
    }

    private void print() {
        ObjectNode json = Output.object();
        ArrayNode perPartition = json.putArray("partitions");
        Tally total = new Tally();
        long contentChecksum = 0;
        for (Map.Entry<TopicPartition, Part> entry : parts.entrySet()) {
            Part part = entry.getValue();
            ObjectNode one = perPartition.addObject();
            one.put("topic", entry.getKey().topic());
            one.put("partition", entry.getKey().partition());
            one.put("first_offset", part.firstOffset);
            one.put("last_offset", part.lastOffset);
            one.put("ordered", part.ordered);
            part.tally.writeTo(one);
            total.add(part.tally);
            contentChecksum += part.contentChecksum;
        }
        total.writeTo(json);
        if (whole) {
            json.put("content_checksum", Tally.unsigned(contentChecksum));
        }
        Output.line(json);
    }
}
