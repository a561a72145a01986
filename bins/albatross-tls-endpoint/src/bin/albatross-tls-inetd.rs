//! albatross-tls-inetd: the endpoint for one connection, on standard input.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    albatross_tls_endpoint::inetd()
}
