import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/** Command line options: {@code --name value} pairs, and any number of {@code --config key=value}. */
final class Options {
    private final Map<String, String> values = new HashMap<>();
    private final Properties configs = new Properties();

    Options(String[] arguments) {
        for (int at = 0; at < arguments.length; at += 2) {
            if (!arguments[at].startsWith("--") || at + 1 == arguments.length) {
                throw new IllegalArgumentException("expected --name value, not " + arguments[at]);
            }
            String name = arguments[at].substring(2);
            String value = arguments[at + 1];
            if (name.equals("config")) {
                String[] pair = value.split("=", 2);
                configs.put(pair[0], pair[1]);
            } else {
                values.put(name, value);
            }
        }
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    long number(String name, long otherwise) {
        String value = values.get(name);
        return value == null ? otherwise : Long.parseLong(value);
    }

    /** Client properties: the given defaults, under what the command line set. */
    Properties configsOver(Map<String, String> defaults) {
        Properties all = new Properties();
        all.put("bootstrap.servers", text("bootstrap"));
        all.putAll(defaults);
        all.putAll(configs);
        return all;
    }
}
