import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** Record contents that follow from a seed and a record's index, so that a test can compute them again. */
final class Content {
    private static final long GAMMA = 0x9E3779B97F4A7C15L;

    private final long seed;
    private final int smallest;
    private final int largest;
    private final long keys;
    private final int headers;
    private final long tombstoneEvery;

    Content(Options options) {
        seed = options.number("seed", 0);
        smallest = (int) options.number("value-size", 100);
        largest = (int) options.number("value-size-max", smallest);
        keys = options.number("keys", 0);
        headers = (int) options.number("headers", 0);
        tombstoneEvery = options.number("tombstone-every", 0);
    }

    /** Letters a to p, of a size between the two given; null for a tombstone. */
    byte[] value(long index) {
        if (tombstoneEvery > 0 && index % tombstoneEvery == tombstoneEvery - 1) {
            return null;
        }
        long state = mix(seed + index * GAMMA);
        byte[] value = new byte[smallest + (int) Long.remainderUnsigned(state, largest - smallest + 1L)];
        for (int at = 0; at < value.length; at += 8) {
            state += GAMMA;
            long letters = (mix(state) & 0x0F0F0F0F0F0F0F0FL) + 0x6161616161616161L;
            int end = Math.min(value.length, at + 8);
            for (int i = at; i < end; i++) {
                value[i] = (byte) letters;
                letters >>>= 8;
            }
        }
        return value;
    }

    /** One of the number of keys given, or null without any. */
    byte[] key(long index) {
        return keys == 0 ? null : ("key-" + index % keys).getBytes(StandardCharsets.UTF_8);
    }

    /** Header keys come in pairs of equal ones; every third value is null. */
    RecordHeaders headers(long index) {
        RecordHeaders all = new RecordHeaders();
        for (int i = 0; i < headers; i++) {
            byte[] value = i % 3 == 2 ? null : (index + "/" + i).getBytes(StandardCharsets.UTF_8);
            all.add("header-" + i / 2, value);
        }
        return all;
    }

    private static long mix(long x) {
        x = (x ^ (x >>> 30)) * 0xBF58476D1CE4E5B9L;
        x = (x ^ (x >>> 27)) * 0x94D049BB133111EBL;
        return x ^ (x >>> 31);
    }
}
