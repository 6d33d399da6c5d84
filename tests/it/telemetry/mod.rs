//! What operators see: metrics, traces, the log and health, and the files in `deploy/` that rest on them.

mod collector;
mod deploy;
mod health;
mod metrics;
mod promtool;
mod scrape;
mod traces;
