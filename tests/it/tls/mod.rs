//! TLS on both sides: certificates that are exchanged while it runs, and the protocols that are chosen.

mod away;
mod reload;
