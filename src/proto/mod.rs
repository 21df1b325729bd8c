//! Wire formats: bytes to borrowed values and back. Knows no connection.

pub mod client;
pub mod client_info;
pub mod connect;
pub mod headers;
pub mod info;
pub mod quote;
