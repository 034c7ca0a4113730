import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** JSON objects on stdout, one a line. */
final class Output {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private Output() {}

    static ObjectNode object() {
        return MAPPER.createObjectNode();
    }

    static synchronized void line(ObjectNode json) {
        try {
            System.out.println(MAPPER.writeValueAsString(json));
            System.out.flush();
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
