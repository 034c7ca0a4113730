import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes records to a topic, round robin over its partitions, and prints what it wrote. */
public final class Produce {
    /** What became of the records of a transaction; without transactions all count as committed. */
    private enum Outcome { COMMITTED, ABORTED, OPEN }

    private final String topic;
    private final int partitions;
    private final long records;
    private final long firstIndex;
    private final long rate;
    private final long timestamp;
    private final long transactionRecords;
    private final long abortEvery;
    private final boolean leaveOpen;
    private final Content content;
    private final KafkaProducer<byte[], byte[]> producer;
    private final Tally[][] tallies;
    private final AtomicReference<Exception> failure = new AtomicReference<>();

    private Produce(Options options) {
        topic = options.text("topic");
        partitions = (int) options.number("partitions", 1);
        records = options.number("records", 1);
        firstIndex = options.number("first-index", 0);
        rate = options.number("rate", 0);
        timestamp = options.number("timestamp", -1);
        transactionRecords = options.number("transaction-records", 0);
        abortEvery = options.number("abort-every", 0);
        leaveOpen = options.number("leave-open", 0) == 1;
        content = new Content(options);
        Properties configs = options.configsOver(Map.of(
            "linger.ms", "5",
            "batch.size", "262144",
            "buffer.memory", "67108864",
            "max.request.size", "67108864"));
        if (transactionRecords > 0) {
            configs.putIfAbsent("transactional.id", "millstream-" + System.nanoTime());
            configs.putIfAbsent("transaction.timeout.ms", "600000");
        }
        producer = new KafkaProducer<>(configs, new ByteArraySerializer(), new ByteArraySerializer());
        tallies = new Tally[Outcome.values().length][partitions];
        for (Tally[] ofOutcome : tallies) {
            for (int partition = 0; partition < partitions; partition++) {
                ofOutcome[partition] = new Tally();
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        new Produce(new Options(arguments)).run();
    }

    private void run() throws Exception {
        if (transactionRecords > 0) {
            producer.initTransactions();
            sendInTransactions();
        } else {
            send(0, records, Outcome.COMMITTED);
        }
        producer.flush();
        if (failure.get() != null) {
            throw failure.get();
        }
        print();
        if (leaveOpen) {
            // Closing would abort the open transaction.
            Runtime.getRuntime().halt(0);
        }
        producer.close();
    }

    private void sendInTransactions() throws Exception {
        long number = 0;
        for (long start = 0; start < records; start += transactionRecords) {
            long end = Math.min(records, start + transactionRecords);
            number++;
            producer.beginTransaction();
            if (leaveOpen && end == records) {
                send(start, end, Outcome.OPEN);
            } else if (abortEvery > 0 && number % abortEvery == 0) {
                send(start, end, Outcome.ABORTED);
                // What is not on the broker yet would never get there.
                producer.flush();
                producer.abortTransaction();
            } else {
                send(start, end, Outcome.COMMITTED);
                producer.commitTransaction();
            }
        }
    }

    private void send(long start, long end, Outcome outcome) throws Exception {
        Tally[] ofOutcome = tallies[outcome.ordinal()];
        long startNanos = System.nanoTime();
        for (long number = start; number < end; number++) {
            if (rate > 0) {
                pace(startNanos + (number - start) * 1_000_000_000L / rate);
            }
            long index = firstIndex + number;
            int partition = (int) (index % partitions);
            byte[] value = content.value(index);
            Long time = timestamp < 0 ? null : Long.valueOf(timestamp + index);
            producer.send(
                new ProducerRecord<>(topic, partition, time, content.key(index), value, content.headers(index)),
                (metadata, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    }
                });
            ofOutcome[partition].add(value);
            if (failure.get() != null) {
                throw failure.get();
            }
        }
    }

    private static void pace(long dueNanos) {
        long left;
        while ((left = dueNanos - System.nanoTime()) > 0) {
            LockSupport.parkNanos(left);
        }
    }

    private void print() {
        ObjectNode json = Output.object();
        for (Outcome outcome : Outcome.values()) {
            Tally total = new Tally();
            ObjectNode ofOutcome = json.putObject(outcome.name().toLowerCase());
            ArrayNode perPartition = ofOutcome.putArray("partitions");
            for (Tally tally : tallies[outcome.ordinal()]) {
                total.add(tally);
                tally.writeTo(perPartition.addObject());
            }
            total.writeTo(ofOutcome);
        }
        Output.line(json);
    }
}
