import com.dynatrace.hash4j.hashing.Hasher64;
import com.dynatrace.hash4j.hashing.Hashing;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigInteger;

/** Counts records and adds up what identifies their values, whatever their order. */
final class Tally {
    private static final Hasher64 XXH3 = Hashing.xxh3_64();

    private long records;
    private long valueBytes;
    private long firstByteSum;
    private long checksum;

    static long hash(byte[] bytes) {
        return XXH3.hashBytesToLong(bytes);
    }

    /** A null value counts as a record and adds nothing else. */
    void add(byte[] value) {
        records++;
        if (value == null) {
            return;
        }
        valueBytes += value.length;
        firstByteSum += value.length == 0 ? 0 : value[0] & 0xFF;
        checksum += hash(value);
    }

    void add(Tally other) {
        records += other.records;
        valueBytes += other.valueBytes;
        firstByteSum += other.firstByteSum;
        checksum += other.checksum;
    }

    long records() {
        return records;
    }

    void writeTo(ObjectNode json) {
        json.put("records", records);
        json.put("value_bytes", valueBytes);
        json.put("first_byte_sum", firstByteSum);
        json.put("checksum", unsigned(checksum));
    }

    static BigInteger unsigned(long value) {
        return new BigInteger(Long.toUnsignedString(value));
    }
}
