package millstream.peer;

import java.nio.ByteBuffer;
import net.openhft.hashing.LongHashFunction;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.utils.Utils;

/** Counts what came, and by that touches every value. */
final class Tally {
    private static final LongHashFunction XXH3 = LongHashFunction.xx3();

    private final boolean withChecksum;
    private final int handlerNs;
    private final int handlerTag;
    long records;
    long bytes;
    long valueBytes;
    long firstByteSum;
    long checksum;
    /** Keeps what is only looked at from being optimised away. */
    byte touched;

    Tally(Request request) {
        withChecksum = request.checksum;
        handlerNs = request.handlerNs;
        handlerTag = request.handlerTag;
    }

    void add(ConsumerRecord<ByteBuffer, ByteBuffer> record) {
        records++;
        ByteBuffer value = record.value();
        if (value != null) {
            int length = value.remaining();
            bytes += length;
            valueBytes += length;
            if (length > 0) {
                firstByteSum += value.get(value.position()) & 0xff;
            }
            if (withChecksum) {
                checksum += XXH3.hashBytes(value);
            }
        }
        if (record.key() != null) {
            bytes += record.key().remaining();
            touch(record.key());
        }
        for (Header header : record.headers()) {
            add(header);
        }
        if (handlerNs > 0 && isSlow(value)) {
            spin(handlerNs);
        }
    }

    private boolean isSlow(ByteBuffer value) {
        boolean isEmpty = value == null || !value.hasRemaining();
        return handlerTag < 0 || !isEmpty && (value.get(value.position()) & 0xff) == handlerTag;
    }

    private void add(Header header) {
        // The key is decoded by this, and so touched.
        bytes += Utils.utf8Length(header.key());
        byte[] value = header.value();
        if (value != null) {
            bytes += value.length;
            touched ^= value.length > 0 ? value[0] : 0;
        }
    }

    private void touch(ByteBuffer part) {
        if (part.hasRemaining()) {
            touched ^= part.get(part.position());
        }
    }

    private static void spin(int nanoseconds) {
        long start = System.nanoTime();
        while (System.nanoTime() - start < nanoseconds) {
            Thread.onSpinWait();
        }
    }
}
