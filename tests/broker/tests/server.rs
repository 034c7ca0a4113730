//! The TCP server: requests in order, faults, stopping, and nothing left behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader};
use kafka_protocol::protocol::Encodable;
use millstream_testbroker::{ApiKey, Config, Effect, Fault, TestBroker};

const PATIENCE: Duration = Duration::from_secs(30);

/// An ApiVersions request of version 0 with its length.
fn request(correlation_id: i32) -> Vec<u8> {
    let mut body = Vec::new();
    RequestHeader::default()
        .with_request_api_key(ApiKey::ApiVersions as i16)
        .with_correlation_id(correlation_id)
        .encode(&mut body, 1)
        .expect("a header encodes");
    ApiVersionsRequest::default().encode(&mut body, 0).expect("a request encodes");
    let mut framed = (body.len() as u32).to_be_bytes().to_vec();
    framed.extend(body);
    framed
}

/// Reads one response and returns its correlation id.
fn correlation_id(stream: &mut TcpStream) -> i32 {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a response");
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).expect("a whole response");
    i32::from_be_bytes([body[0], body[1], body[2], body[3]])
}

fn connect(broker: &TestBroker, broker_id: i32) -> TcpStream {
    let stream = TcpStream::connect(broker.address(broker_id).expect("a known broker")).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let broker = TestBroker::start(Config::default()).expect("a free port");
    let mut stream = connect(&broker, 1);
    let requests: Vec<u8> = (0..100).flat_map(request).collect();
    stream.write_all(&requests).expect("the broker reads");
    for expected in 0..100 {
        assert_eq!(correlation_id(&mut stream), expected);
    }
}

#[test]
fn a_delayed_answer_comes_without_anything_else_happening() {
    let broker = TestBroker::start(Config::default()).expect("a free port");
    let delay = Effect::Delay(Duration::from_millis(50));
    broker.handle().inject(Fault::new(ApiKey::ApiVersions, delay));
    let mut stream = connect(&broker, 1);
    stream.write_all(&request(1)).expect("the broker reads");
    assert_eq!(correlation_id(&mut stream), 1);
}

#[test]
fn an_injected_disconnect_closes_one_connection_only() {
    let broker = TestBroker::start(Config::default()).expect("a free port");
    broker.handle().inject(Fault::new(ApiKey::ApiVersions, Effect::DisconnectBefore));
    let mut stream = connect(&broker, 1);
    stream.write_all(&request(1)).expect("the broker reads");
    assert!(is_closed(&mut stream));
    let mut other = connect(&broker, 1);
    other.write_all(&request(2)).expect("the broker reads");
    assert_eq!(correlation_id(&mut other), 2);
}

#[test]
fn a_stopped_broker_closes_its_connections_and_a_started_one_serves_again() {
    let config = Config { brokers: vec![1, 2], ..Config::default() };
    let broker = TestBroker::start(config).expect("free ports");
    let mut first = connect(&broker, 1);
    let mut second = connect(&broker, 2);
    let both = |cluster: &millstream_testbroker::Cluster| cluster.counters().connections == 2;
    assert!(broker.handle().wait_until(PATIENCE, both));
    broker.handle().stop_broker(1).expect("a known broker");
    assert!(is_closed(&mut first));
    assert!(is_closed(&mut connect(&broker, 1)));
    second.write_all(&request(7)).expect("the other broker reads");
    assert_eq!(correlation_id(&mut second), 7);
    broker.handle().start_broker(1).expect("a known broker");
    let mut again = connect(&broker, 1);
    again.write_all(&request(8)).expect("the broker reads");
    assert_eq!(correlation_id(&mut again), 8);
}

#[test]
fn an_oversized_request_closes_the_connection() {
    let broker = TestBroker::start(Config::default()).expect("a free port");
    let mut stream = connect(&broker, 1);
    stream.write_all(&u32::MAX.to_be_bytes()).expect("the broker reads");
    assert!(is_closed(&mut stream));
}

#[test]
fn dropping_the_broker_closes_what_is_open() {
    let broker = TestBroker::start(Config::default()).expect("a free port");
    let mut stream = connect(&broker, 1);
    let one = |cluster: &millstream_testbroker::Cluster| cluster.counters().connections == 1;
    assert!(broker.handle().wait_until(PATIENCE, one));
    drop(broker);
    assert!(is_closed(&mut stream));
}
