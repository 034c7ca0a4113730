//! A hundred HTTP calls in flight: every order is posted to a service that takes its time, on a Tokio runtime, and the
//! core that fetches goes on meanwhile. Answers come in any order; what is committed has no gap.
//!
//! `cargo run -p millstream-examples --bin http_offload`
#![allow(clippy::print_stdout, reason = "it talks to whoever tries it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri};
use axum::routing::post;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use millstream::OwnedRecord;
use millstream::offload::Offload;
use millstream_examples::{BoxError, SAMPLE_PARTITIONS, Source};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Orders of all partitions that may be with the service at once.
const CALLS_IN_FLIGHT: usize = 100;
/// How long the service of this program takes for an order, where no other is named.
const SCORING_TIME: Duration = Duration::from_millis(20);
/// How long calls may take to finish when the program stops.
const GRACE: Duration = Duration::from_secs(20);

/// Posts orders.
#[derive(Clone)]
struct Scores {
    client: Client<HttpConnector, Full<Bytes>>,
    service: Uri,
    scored: Arc<AtomicU64>,
}

impl Scores {
    /// The body is the record's value where it was received: it is not copied.
    async fn score(self, order: OwnedRecord) -> Result<(), BoxError> {
        let body = Bytes::from_owner(OrderBody(order));
        let request = Request::post(self.service).body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the service answers {}", answer.status()).into());
        }
        self.scored.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// An order's value as bytes that go home to their shard when the request is over.
struct OrderBody(OwnedRecord);

impl AsRef<[u8]> for OrderBody {
    fn as_ref(&self) -> &[u8] {
        self.0.value().unwrap_or_default()
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let source = Source::from_args(&["service"])?;
    let service = match source.option("service") {
        Some(service) => service.parse()?,
        None => serve_scores().await?,
    };
    let client = Client::builder(TokioExecutor::new()).build_http();
    let scored = Arc::new(AtomicU64::new(0));
    let scores = Scores { client, service, scored: Arc::clone(&scored) };

    let offload = Offload::tokio(tokio::runtime::Handle::current())
        .in_flight(CALLS_IN_FLIGHT / SAMPLE_PARTITIONS as usize);
    let engine = source
        .engine()?
        .group("scores")
        .topics([source.topic()])
        .build()?
        .start(offload.handler(move |order| scores.clone().score(order)))?;

    let handle = engine.handle();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let report = tokio::select! {
        outcome = handle.finished() => outcome?,
        // Calls under way are awaited and their orders committed; those that were not begun come again.
        _ = terminate.recv() => handle.begin_shutdown(GRACE).await?,
        _ = interrupt.recv() => handle.begin_shutdown(GRACE).await?,
    };
    println!("{} orders scored", scored.load(Ordering::Relaxed));
    for partition in report.committed {
        println!("committed {partition}");
    }
    Ok(())
}

/// A service that takes its time, for whoever has none at hand.
async fn serve_scores() -> Result<Uri, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/score", listener.local_addr()?).parse()?;
    let scoring = post(|| tokio::time::sleep(SCORING_TIME));
    tokio::spawn(async { axum::serve(listener, Router::new().route("/score", scoring)).await });
    Ok(uri)
}
