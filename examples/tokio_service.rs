//! In a service on Tokio: an engine counts orders on its own cores, axum serves what it counted and whether it is well,
//! and SIGTERM stops both in order.
//!
//! `cargo run -p millstream-examples --bin tokio_service`, then `curl localhost:8080/totals`.
#![allow(clippy::print_stdout, reason = "it talks to whoever tries it")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use millstream::{Batch, Context, Handle, Handler, Health, Outcome};
use millstream_examples::{BoxError, Source, cents};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long handlers may take to finish when the service stops.
const GRACE: Duration = Duration::from_secs(20);

/// What the shards count and the service shows.
#[derive(Default)]
struct Totals {
    orders: AtomicU64,
    cents: AtomicU64,
}

/// Counts the orders of one partition; the sums of a batch are published once.
struct Count(Arc<Totals>);

impl Handler for Count {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        let (mut orders, mut sum) = (0, 0);
        for record in batch.records() {
            orders += 1;
            sum += cents(record.value())?;
        }
        self.0.orders.fetch_add(orders, Ordering::Relaxed);
        self.0.cents.fetch_add(sum, Ordering::Relaxed);
        Ok(Outcome::Done)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let source = Source::from_args(&["listen"])?;
    let totals = Arc::new(Totals::default());
    let counted = Arc::clone(&totals);
    let engine = source
        .engine()?
        .stop_at_end(false)
        .group("order-totals")
        .topics([source.topic()])
        .build()?
        .start(move |_lane| Ok::<_, Infallible>(Count(Arc::clone(&counted))))?;

    let handle = engine.handle();
    let service = Router::new()
        .route("/totals", get(show_totals))
        .with_state(totals)
        .route("/ready", get(ready))
        .route("/live", get(live))
        .with_state(handle.clone());
    let listener = TcpListener::bind(source.option("listen").unwrap_or("127.0.0.1:8080")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serving = axum::serve(listener, service).with_graceful_shutdown(asked_to_stop());
    let report = tokio::select! {
        // Nobody asked for it: what ended the engine ends the service.
        outcome = handle.finished() => outcome?,
        served = serving => {
            served?;
            // The last request is answered. Now partitions are finished, committed and given up.
            handle.begin_shutdown(GRACE).await?
        }
    };
    for partition in report.committed {
        println!("committed {partition}");
    }
    Ok(())
}

async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn show_totals(State(totals): State<Arc<Totals>>) -> Json<serde_json::Value> {
    let (orders, cents) = (totals.orders.load(Ordering::Relaxed), totals.cents.load(Ordering::Relaxed));
    Json(serde_json::json!({ "orders": orders, "cents": cents }))
}

/// For an orchestrator: whether it has its partitions, and if not, what is missing.
async fn ready(State(handle): State<Handle>) -> (StatusCode, String) {
    let health = health(&handle);
    (status(health.is_ready()), health.to_string())
}

/// For an orchestrator: whether only a new process would help.
async fn live(State(handle): State<Handle>) -> (StatusCode, String) {
    let health = health(&handle);
    (status(health.is_live()), health.to_string())
}

/// The answer takes microseconds, but half a second when the engine is in trouble, for which the runtime is told to go
/// on elsewhere.
fn health(handle: &Handle) -> Health {
    tokio::task::block_in_place(|| handle.health())
}

fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
