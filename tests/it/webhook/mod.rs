//! The webhook as an API server uses it: in process, on a socket, and as a running server.

mod edge;
mod operators;
mod reviews;
