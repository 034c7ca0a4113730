//! Spring's YAML, as far as its settings of Kafka need: nested names, values, and lists of values.

/// The only document of YAML that is expected has this at its top.
const TOP: &str = "spring:";

/// The same settings as properties, each on its line, where the text is Spring's YAML.
pub(super) fn as_properties(text: &str) -> Option<String> {
    text.lines().any(|line| without_comment(line) == TOP).then(|| flatten(text))
}

/// Writes each leaf as `a.b.c=value`; lines that are none become comments, so that lines keep their numbers.
fn flatten(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    // The names that the current line is below, each with its indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    // The line that items of a list belong to.
    let mut list: Option<usize> = None;
    for line in text.lines() {
        let content = without_comment(line);
        let indent = content.len() - content.trim_start_matches(' ').len();
        let content = content.trim();
        if let (Some(item), Some(owner)) = (content.strip_prefix("- "), list) {
            let parted = if lines[owner].ends_with('=') { "" } else { "," };
            let item = format!("{parted}{}", escaped(unquoted(item)));
            lines[owner].push_str(&item);
            lines.push("#".to_owned());
            continue;
        }
        let Some((name, value)) = entry(content) else {
            lines.push("#".to_owned());
            continue;
        };
        above.retain(|(other, _)| *other < indent);
        above.push((indent, unquoted(name).to_owned()));
        let path: Vec<&str> = above.iter().map(|(_, name)| name.as_str()).collect();
        let value = unquoted(value);
        list = value.is_empty().then_some(lines.len());
        lines.push(format!("{}={}", escaped(&path.join(".")), escaped(value)));
    }
    // A name with others below it and no value of its own sets nothing.
    let is_set = |line: &String| !line.ends_with('=');
    lines
        .into_iter()
        .map(|line| if is_set(&line) { line } else { "#".to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The name and value of `name: value` or `name:`.
fn entry(content: &str) -> Option<(&str, &str)> {
    let (name, value) = content.split_once(": ").or_else(|| Some((content.strip_suffix(':')?, "")))?;
    (!name.starts_with(['-', '#'])).then_some((name.trim(), value.trim()))
}

fn without_comment(line: &str) -> &str {
    let end = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
    line[..end.unwrap_or(line.len())].trim_end()
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let within = |mark| text.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

/// What the syntax of properties would read otherwise.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(' ', "\\ ").replace(':', "\\:").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_values_and_lists_become_properties_on_their_lines() {
        let text = "\
spring:
  kafka:   # the cluster
    bootstrap-servers:
      - \"a:9092\"
      - b:9092
    consumer:
      group-id: 'g'
      properties:
        \"[max.poll.records]\": 7
server:
  port: 8080
";
        let expected = "\
#
#
spring.kafka.bootstrap-servers=a\\:9092,b\\:9092
#
#
#
spring.kafka.consumer.group-id=g
#
spring.kafka.consumer.properties.[max.poll.records]=7
#
server.port=8080";
        assert_eq!(as_properties(text).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_not_springs_yaml_is_left_alone() {
        for text in ["", "group.id=g", "spring.kafka.client-id: x", "kafka:\n  a: b\n"] {
            assert_eq!(as_properties(text), None, "{text}");
        }
    }

    #[test]
    fn broken_yaml_sets_nothing_and_does_no_harm() {
        for text in
            ["spring:\n- a\n", "spring:\n\t: x\n", "spring:\n  : :\n", "- b\nspring:\n", "spring:\n  - - -\n"]
        {
            assert_eq!(as_properties(text).unwrap().lines().count(), text.lines().count(), "{text}");
        }
    }
}
