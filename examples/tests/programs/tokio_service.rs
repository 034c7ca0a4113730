//! The service on Tokio.

use crate::program::{ORDERS, PARTITIONS, Program, TOPIC, broker, cents_of, committed_of, get, wait_for};
use millstream_examples::write_orders;

#[test]
fn a_tokio_service_counts_every_order_once_tells_its_health_and_commits_when_it_is_stopped() {
    let broker = broker();
    let arguments = ["--listen", "127.0.0.1:0"];
    let mut service = Program::start(env!("CARGO_BIN_EXE_tokio_service"), &broker, &arguments);
    let line = service.line();
    let address = line.strip_prefix("listening on http://").unwrap().to_owned();
    wait_for(|| get(&address, "/ready"), |(status, _)| *status == 200);
    let counted = |orders: u64| {
        let cents = cents_of(0..orders);
        move |answer: &(u16, String)| {
            let totals: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
            assert!(totals["orders"].as_u64() <= Some(orders), "an order was counted twice: {totals}");
            totals["orders"] == orders && totals["cents"] == cents
        }
    };
    wait_for(|| get(&address, "/totals"), counted(ORDERS));
    write_orders(&broker.handle(), TOPIC, PARTITIONS, ORDERS..2 * ORDERS).unwrap();
    wait_for(|| get(&address, "/totals"), counted(2 * ORDERS));
    assert_eq!(get(&address, "/live").0, 200);

    service.terminate();
    let (said, status) = service.finish();
    assert!(status.success(), "{said}");
    for partition in 0..PARTITIONS {
        let end = 2 * ORDERS as i64 / i64::from(PARTITIONS);
        assert!(said.contains(&format!("committed {TOPIC}-{partition}@{end}")), "{said}");
        assert_eq!(committed_of(&broker, "order-totals", partition), Some(end));
    }
}
