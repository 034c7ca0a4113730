//! What the examples share: orders to consume, from a broker of yours or from one inside the process.
//!
//! Every example takes `--bootstrap HOST:PORT`, `--topic NAME` and `--property KEY=VALUE`. Without a broker it starts
//! one on a loopback port, writes [`SAMPLE_ORDERS`] orders to it and consumes those, so that one command shows
//! something.

use std::error::Error;

use lexopt::prelude::{Long, ValueExt};
use millstream::{Engine, EngineBuilder};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, Handle, TestBroker};

/// Orders that are written where no broker is named.
pub const SAMPLE_ORDERS: u64 = 10_000;
/// Partitions that they are spread over.
pub const SAMPLE_PARTITIONS: i32 = 4;
/// Customers who order, in turn.
pub const SAMPLE_CUSTOMERS: u64 = 100;

/// Any error of an example.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Where the orders come from.
pub struct Source {
    bootstrap: String,
    topic: String,
    /// `key=value` of Kafka's properties.
    properties: Vec<String>,
    /// What an example of its own understands, such as `--database FILE`.
    options: Vec<(String, String)>,
    // Held for as long as it is consumed from.
    broker: Option<TestBroker>,
}

impl Source {
    /// What the command line says. `options` names the options, each with a value, that this example has besides.
    ///
    /// # Errors
    /// An argument that is not known, or no broker could be started.
    pub fn from_args(options: &[&str]) -> Result<Self, BoxError> {
        let mut source = Self {
            bootstrap: String::new(),
            topic: "orders".to_owned(),
            properties: Vec::new(),
            options: Vec::new(),
            broker: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("bootstrap") => source.bootstrap = parser.value()?.string()?,
                Long("topic") => source.topic = parser.value()?.string()?,
                Long("property") => source.properties.push(parser.value()?.string()?),
                Long(name) if options.contains(&name) => {
                    let name = name.to_owned();
                    source.options.push((name, parser.value()?.string()?));
                }
                other => {
                    let own: String = options.iter().map(|name| format!(", --{name}")).collect();
                    let unexpected = other.unexpected();
                    return Err(format!(
                        "{unexpected}; there are --bootstrap, --topic, --property{own}, with a value each"
                    )
                    .into());
                }
            }
        }
        if source.bootstrap.is_empty() {
            let broker = TestBroker::start(Config::default())?;
            write_orders(&broker.handle(), &source.topic, SAMPLE_PARTITIONS, 0..SAMPLE_ORDERS)?;
            source.bootstrap = broker.bootstrap();
            source.broker = Some(broker);
        }
        Ok(source)
    }

    /// The value of an option of this example.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }

    /// The topic with the orders.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the orders are our own, so that there is an end to wait for.
    pub fn is_sample(&self) -> bool {
        self.broker.is_some()
    }

    /// An engine that begins with the oldest order.
    ///
    /// # Errors
    /// A property without `=`; its name and value are checked when the engine is built.
    pub fn engine(&self) -> Result<EngineBuilder, BoxError> {
        let mut engine = Engine::builder();
        for property in &self.properties {
            engine = engine.argument(property)?;
        }
        let engine = engine
            .property("bootstrap.servers", &self.bootstrap)
            .property("auto.offset.reset", "earliest")
            .stop_at_end(self.is_sample());
        Ok(engine)
    }
}

/// One order: its value is the amount in cents as digits, its key the customer.
///
/// # Errors
/// When the record has no value, or something else in it.
pub fn cents(value: Option<&[u8]>) -> Result<u64, BoxError> {
    let digits = std::str::from_utf8(value.ok_or("an order without an amount")?)?;
    Ok(digits.parse()?)
}

/// The customer and the amount of the order with this number.
pub fn order(number: u64) -> (String, u64) {
    (format!("customer-{}", number % SAMPLE_CUSTOMERS), 100 + number % 900)
}

/// Writes the orders with these numbers to a topic, which is made, each to partition `number % partitions`.
///
/// # Errors
/// When the broker refuses.
pub fn write_orders(
    broker: &Handle,
    topic: &str,
    partitions: i32,
    numbers: std::ops::Range<u64>,
) -> Result<(), BoxError> {
    if broker.offsets(topic, 0).is_err() {
        broker.create_topic(topic, partitions)?;
    }
    for partition in 0..partitions {
        let mut batch = RecordBatchBuilder::new(0);
        for number in numbers.clone().filter(|number| number % partitions as u64 == partition as u64) {
            let (customer, cents) = order(number);
            batch.append(&NewRecord {
                timestamp: 1_700_000_000_000 + number as i64,
                key: Some(customer.as_bytes()),
                value: Some(cents.to_string().as_bytes()),
                ..NewRecord::default()
            });
        }
        broker.append(topic, partition, batch.finish()?.into())?;
    }
    Ok(())
}
