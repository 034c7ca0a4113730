//! HTTP calls through offload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use millstream_examples::order;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::program::{ORDERS, PARTITIONS, Program, TOPIC, broker, committed, wait_for};

/// What the example says it has in flight.
const CALLS_IN_FLIGHT: usize = 100;

#[test]
fn a_hundred_calls_are_in_flight_at_once_and_every_order_is_posted_once() {
    let broker = broker();
    let posted = Arc::<Mutex<BTreeMap<String, u64>>>::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(serve(Arc::clone(&posted)));

    let program = Program::start(env!("CARGO_BIN_EXE_http_offload"), &broker, &["--service", &service]);
    wait_for(|| committed(&broker, "scores"), |orders| *orders == ORDERS as i64);
    program.terminate();
    let (said, status) = program.finish();
    assert!(status.success(), "{said}");
    assert!(said.contains(&format!("{ORDERS} orders scored")), "{said}");
    for partition in 0..PARTITIONS {
        let end = ORDERS as i64 / i64::from(PARTITIONS);
        assert!(said.contains(&format!("committed {TOPIC}-{partition}@{end}")), "{said}");
    }
    let mut expected = BTreeMap::new();
    (0..ORDERS).for_each(|number| *expected.entry(order(number).1.to_string()).or_default() += 1);
    assert_eq!(*posted.lock().unwrap(), expected);
}

/// A service that answers nobody before a hundred calls wait for it.
async fn serve(posted: Arc<Mutex<BTreeMap<String, u64>>>) -> String {
    assert_eq!(ORDERS % CALLS_IN_FLIGHT as u64, 0, "every call has its hundred");
    let barrier = Arc::new(Barrier::new(CALLS_IN_FLIGHT));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = post(move |body: String| async move {
        *posted.lock().unwrap().entry(body).or_default() += 1;
        barrier.wait().await;
    });
    tokio::spawn(async { axum::serve(listener, Router::new().route("/score", answer)).await });
    format!("http://{address}/score")
}
