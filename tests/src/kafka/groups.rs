//! What `kafka-consumer-groups` says about a group.

use super::error::{Error, Result};
use super::tools::{JavaTools, option};

const COMMAND: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// One partition of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset; `None` if there is none.
    pub committed: Option<i64>,
    /// The end of the partition.
    pub log_end: Option<i64>,
    /// The difference between the two.
    pub lag: Option<i64>,
    /// The member that owns it; `None` when nobody does.
    pub consumer_id: Option<String>,
}

impl JavaTools {
    /// `kafka-consumer-groups --describe` of one group, ordered by topic and partition.
    ///
    /// # Errors
    /// If the command fails, or prints no table.
    pub fn describe_group(&self, bootstrap: &str, group: &str) -> Result<Vec<GroupRow>> {
        let mut arguments = vec!["--describe".to_owned()];
        option(&mut arguments, "bootstrap-server", bootstrap);
        option(&mut arguments, "group", group);
        let output = self.run(COMMAND, &arguments)?;
        parse(&output).ok_or_else(|| Error::Output {
            what: "kafka-consumer-groups".to_owned(),
            output,
            message: "expected a table of partitions".to_owned(),
        })
    }
}

/// The rows under the header line, whose names say which column is which.
fn parse(output: &str) -> Option<Vec<GroupRow>> {
    let mut lines = output.lines().skip_while(|line| !line.starts_with("GROUP"));
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = |name: &str| names.iter().position(|&known| known == name);
    let (topic, partition) = (column("TOPIC")?, column("PARTITION")?);
    let (committed, log_end, lag) = (column("CURRENT-OFFSET")?, column("LOG-END-OFFSET")?, column("LAG")?);
    let consumer_id = column("CONSUMER-ID")?;
    let mut rows = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let field = |column: usize| fields.get(column).copied().filter(|&field| field != "-");
        rows.push(GroupRow {
            topic: field(topic)?.to_owned(),
            partition: field(partition)?.parse().ok()?,
            committed: field(committed).and_then(|field| field.parse().ok()),
            log_end: field(log_end).and_then(|field| field.parse().ok()),
            lag: field(lag).and_then(|field| field.parse().ok()),
            consumer_id: field(consumer_id).map(str::to_owned),
        });
    }
    rows.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_the_names_of_its_columns() {
        let output = "\nGROUP TOPIC  PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID\n\
                      g     orders 1         -              30             -   -           -    -\n\
                      g     orders 0         10             30             20  member-1    /127 c\n";
        let rows = parse(output).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].partition, rows[0].committed, rows[0].lag), (0, Some(10), Some(20)));
        assert_eq!(rows[0].consumer_id.as_deref(), Some("member-1"));
        assert_eq!((rows[1].partition, rows[1].committed, rows[1].log_end), (1, None, Some(30)));
    }

    #[test]
    fn output_without_a_table_is_refused() {
        assert_eq!(parse("Consumer group 'g' does not exist.\n"), None);
    }
}
