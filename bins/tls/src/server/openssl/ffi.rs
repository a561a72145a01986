//! What OpenSSL documents and its crate has no safe form of. All unsafe code of this crate is here.
#![allow(unsafe_code, reason = "functions of C")]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::OnceLock;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef};
use openssl_sys::{SSL, SSL_CTX, SSL_CTX_ctrl, SSL_ctrl};

use super::chain::Presented;

/// From `openssl/ssl.h`: the commands of `SSL_CTX_set_max_cert_list(3)`, which is a macro.
const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;

/// From `openssl/ssl3.h`: the content type of a whole handshake message.
const SSL3_RT_HANDSHAKE: c_int = 22;

/// From `openssl/crypto.h`: the configuration file is not read.
const OPENSSL_INIT_NO_LOAD_CONFIG: u64 = 0x80;

/// Memory of as many octets or more is mapped, so that it goes back to the system when it is freed: what a large chain
/// took is not kept. Without a setting glibc raises the limit to the largest block that was ever freed.
#[cfg(target_env = "gnu")]
const MAPPED: c_int = 256 * 1024;

type MessageCallback = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, usize, *mut SSL, *mut c_void);
type VerifyCallback = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type Malloc = unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

// SAFETY: as in `openssl/ssl.h` and `openssl/crypto.h`, since 1.1.0.
unsafe extern "C" {
    fn SSL_CTX_set_msg_callback(context: *mut SSL_CTX, callback: Option<MessageCallback>);
    fn SSL_CTX_set_cert_verify_callback(
        context: *mut SSL_CTX,
        callback: Option<VerifyCallback>,
        argument: *mut c_void,
    );
    fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
}

thread_local! {
    /// Whether OpenSSL's next request for memory is refused, on this thread.
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

/// Begins to use OpenSSL: without its configuration file, which could make it do anything, and with memory that can be
/// refused. Once, and before anything else of OpenSSL.
///
/// # Errors
/// Where OpenSSL was used before.
pub(super) fn begin() -> Result<(), &'static str> {
    static BEGUN: OnceLock<bool> = OnceLock::new();
    let begun = *BEGUN.get_or_init(|| {
        #[cfg(target_env = "gnu")]
        // SAFETY: sets a number.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        }
        // SAFETY: the three do what the functions of C do that they are named after; where OpenSSL has memory of
        // others already it refuses them.
        let ours = unsafe { CRYPTO_set_mem_functions(malloc, realloc, free) } == 1;
        // SAFETY: without settings.
        let ready = unsafe { openssl_sys::OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, ptr::null()) } == 1;
        openssl::init();
        ours && ready
    });
    if begun { Ok(()) } else { Err("it was used in this process before, or cannot be initialised") }
}

unsafe extern "C" fn malloc(count: usize, _file: *const c_char, _line: c_int) -> *mut c_void {
    if REFUSES.replace(false) {
        return ptr::null_mut();
    }
    // SAFETY: as the caller of malloc.
    unsafe { libc::malloc(count) }
}

unsafe extern "C" fn realloc(
    old: *mut c_void,
    count: usize,
    _file: *const c_char,
    _line: c_int,
) -> *mut c_void {
    if REFUSES.replace(false) {
        return ptr::null_mut();
    }
    // SAFETY: `old` is null or came from the two above, as OpenSSL has no other.
    unsafe { libc::realloc(old, count) }
}

unsafe extern "C" fn free(old: *mut c_void, _file: *const c_char, _line: c_int) {
    // SAFETY: as above.
    unsafe { libc::free(old) }
}

/// Forgets a refusal that was not made.
pub(super) fn refuse_no_more() {
    REFUSES.set(false);
}

/// Connections of this context take certificates of at most so many octets, shown to [`Presented`] before OpenSSL
/// reads them, and are not verified by OpenSSL.
pub(super) fn show_certificates(context: &mut SslContextBuilder, limit: usize) -> Result<(), ErrorStack> {
    // Made here, so that it is there for the callback.
    presented()?;
    let raw = context.as_ptr();
    // SAFETY: `raw` is a context; the functions are given a number, and callbacks that live as long as the program.
    unsafe {
        SSL_CTX_ctrl(raw, SSL_CTRL_SET_MAX_CERT_LIST, long(limit), ptr::null_mut());
        SSL_CTX_set_msg_callback(raw, Some(on_message));
        SSL_CTX_set_cert_verify_callback(raw, Some(on_verify), ptr::null_mut());
    }
    Ok(())
}

/// This connection takes certificates of at most so many octets.
pub(super) fn set_max_certificates(ssl: &SslRef, limit: usize) {
    // SAFETY: a connection, and a number. Only this thread uses it.
    unsafe {
        SSL_ctrl(ssl.as_ptr(), SSL_CTRL_SET_MAX_CERT_LIST, long(limit), ptr::null_mut());
    }
}

fn long(number: usize) -> c_long {
    c_long::try_from(number).unwrap_or(c_long::MAX)
}

/// Where a connection keeps what its callback needs.
pub(super) fn presented() -> Result<Index<Ssl, Presented>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Presented>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let new = Ssl::new_ex_index()?;
            Ok(*INDEX.get_or_init(|| new))
        }
    }
}

/// A message has come, and OpenSSL has not taken it apart yet. What it would make of certificates can be many times
/// their size; so of what we cannot read it gets no memory for the first thing that it makes, which ends the handshake.
unsafe extern "C" fn on_message(
    is_written: c_int,
    _version: c_int,
    kind: c_int,
    octets: *const c_void,
    count: usize,
    ssl: *mut SSL,
    _argument: *mut c_void,
) {
    if is_written != 0 || kind != SSL3_RT_HANDSHAKE || octets.is_null() || ssl.is_null() {
        return;
    }
    let Ok(index) = presented() else { return };
    // SAFETY: SSL_CTX_set_msg_callback(3): a connection and the octets of a message, during this call.
    let (message, ssl) =
        unsafe { (std::slice::from_raw_parts(octets.cast::<u8>(), count), SslRef::from_ptr(ssl)) };
    let Some(presented) = ssl.ex_data(index) else { return };
    if presented.look_at(message).is_err() {
        REFUSES.set(true);
    }
}

/// In place of OpenSSL's verification.
unsafe extern "C" fn on_verify(_store: *mut c_void, _argument: *mut c_void) -> c_int {
    1
}
