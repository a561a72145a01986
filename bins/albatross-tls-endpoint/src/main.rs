//! albatross-tls-endpoint: lets clients with certificates command albatross over TLS.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    albatross_tls_endpoint::endpoint()
}
