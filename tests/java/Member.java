import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A group member that prints its assignments and records as they come, until told to stop.
 *
 * <p>Commands are lines on stdin: {@code hold} (stop polling, which holds an open join up), {@code release},
 * {@code commit} (positions, synchronously) and {@code stop} (commit and leave). The end of stdin ends the process.
 */
public final class Member implements ConsumerRebalanceListener {
    private static final Duration POLL = Duration.ofMillis(50);

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final List<String> topics;
    private final BlockingQueue<String> commands = new LinkedBlockingQueue<>();

    private Member(Options options) {
        topics = Arrays.asList(options.text("topic").split(","));
        consumer = new KafkaConsumer<>(
            options.configsOver(Map.of(
                "group.id", options.text("group"),
                "auto.offset.reset", "earliest",
                "enable.auto.commit", "false")),
            new ByteArrayDeserializer(),
            new ByteArrayDeserializer());
    }

    public static void main(String[] arguments) throws Exception {
        new Member(new Options(arguments)).run();
    }

    private void run() throws InterruptedException {
        Thread reader = new Thread(this::readCommands, "commands");
        reader.setDaemon(true);
        reader.start();
        consumer.subscribe(topics, this);
        while (true) {
            String command = commands.poll();
            if (command == null) {
                report(consumer.poll(POLL));
                continue;
            }
            switch (command) {
                case "hold" -> {
                    event("held");
                    while (!commands.take().equals("release")) {
                        event("ignored");
                    }
                    event("released");
                }
                case "commit" -> {
                    consumer.commitSync();
                    event("committed");
                }
                case "stop" -> {
                    consumer.commitSync();
                    consumer.close();
                    event("stopped");
                    return;
                }
                default -> event("unknown");
            }
        }
    }

    private void readCommands() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            String line;
            while ((line = in.readLine()) != null) {
                commands.add(line.trim());
            }
        } catch (IOException e) {
            e.printStackTrace();
        }
        if (!commands.contains("stop")) {
            Runtime.getRuntime().halt(2);
        }
    }

    private void report(ConsumerRecords<byte[], byte[]> records) {
        for (TopicPartition partition : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> ofPartition = records.records(partition);
            ObjectNode json = Output.object();
            Tally tally = new Tally();
            ofPartition.forEach(record -> tally.add(record.value()));
            json.put("event", "records");
            json.put("topic", partition.topic());
            json.put("partition", partition.partition());
            json.put("first_offset", ofPartition.get(0).offset());
            json.put("last_offset", ofPartition.get(ofPartition.size() - 1).offset());
            tally.writeTo(json);
            Output.line(json);
        }
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        event("assigned", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        // Without this the next owner would read again what was reported here.
        consumer.commitSync();
        event("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        event("lost", partitions);
    }

    private static void event(String name) {
        event(name, List.of());
    }

    private static void event(String name, Collection<TopicPartition> partitions) {
        ObjectNode json = Output.object();
        json.put("event", name);
        ArrayNode list = json.putArray("partitions");
        partitions.stream()
            .sorted((a, b) -> (a.topic() + a.partition()).compareTo(b.topic() + b.partition()))
            .forEach(partition -> {
                ObjectNode one = list.addObject();
                one.put("topic", partition.topic());
                one.put("partition", partition.partition());
            });
        Output.line(json);
    }
}
