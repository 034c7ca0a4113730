//! Every example is run as a program against the test broker, and its results are compared with what was written.

mod busy_loop;
mod fan_out;
mod http_offload;
mod program;
mod tokio_service;
mod totals_store;
