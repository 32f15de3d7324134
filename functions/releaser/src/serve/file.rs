//! Sends a file of known content, or a range of it, piece by piece (RFC 9110).

use crate::generation::file::FileRef;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::range::{self, RequestedRange};
use millrace_store::{BlobStore, pieces};
use std::ops::Range;
use std::time::Duration;

/// Largest file that goes through this program if the store itself has an address for it, in bytes: signatures and other small
/// metadata get no quicker by another question. Lambda answers with 6 MB at most (AWS Lambda quotas, "Invocation payload").
const THROUGH_BYTES_MAX: u64 = 256 * 1024;

/// How long such an address is good: the client goes there at once.
const ADDRESS_VALID: Duration = Duration::from_secs(900);

/// What caches may do with it: its signature is over after that time, so an address must not outlive it.
const ADDRESS_STAYS: &str = "no-store";

/// Answers a request for this file. `path` says what kind it is; `cache` is what caches may do.
pub async fn send<B: BlobStore>(
    blobs: B,
    method: &Method,
    headers: &HeaderMap,
    file: FileRef,
    path: &str,
    cache: &'static str,
) -> Response {
    let tag = format!("\"{}\"", file.digest.hex());
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let about = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, cache.to_owned()),
    ];
    if text(header::IF_NONE_MATCH).is_some_and(|known| is_among(&tag, known)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    if file.size > THROUGH_BYTES_MAX
        && *method == Method::GET
        && let Some(elsewhere) = elsewhere(&blobs, &file).await
    {
        return elsewhere;
    }
    // A range of something that has changed since is answered with all of it (13.1.5).
    let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    let asked = text(header::RANGE)
        .filter(|_| same && *method == Method::GET)
        .map_or(RequestedRange::All, |range| range::read(range, file.size));
    let content = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    let size = file.size;
    let place = |place: String| [(header::CONTENT_RANGE, format!("bytes {place}/{size}"))];
    match asked {
        RequestedRange::All => {
            (about, content, body(blobs, method, &file, 0..size)).into_response()
        }
        RequestedRange::Part(range) => {
            let place = place(format!("{}-{}", range.start, range.end - 1));
            let body = body(blobs, method, &file, range);
            (StatusCode::PARTIAL_CONTENT, about, content, place, body).into_response()
        }
        RequestedRange::Nothing => {
            let place = place("*".to_owned());
            (StatusCode::RANGE_NOT_SATISFIABLE, about, place).into_response()
        }
    }
}

/// The address in the store from which a client gets a large file by itself; none if the store gives none.
async fn elsewhere<B: BlobStore>(blobs: &B, file: &FileRef) -> Option<Response> {
    match blobs.read_address(&file.digest, ADDRESS_VALID, None).await {
        Ok(None) => None,
        Ok(Some(address)) => {
            let there = [
                (header::LOCATION, address.url),
                (header::CACHE_CONTROL, ADDRESS_STAYS.to_owned()),
            ];
            Some((StatusCode::TEMPORARY_REDIRECT, there).into_response())
        }
        Err(error) => Some(super::trouble(&error)),
    }
}

/// A part of a file, with its length; the length alone if only that was asked for.
fn body<B: BlobStore>(
    blobs: B,
    method: &Method,
    file: &FileRef,
    range: Range<u64>,
) -> ([(header::HeaderName, String); 1], Body) {
    let length = (range.end - range.start).to_string();
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(pieces(blobs, file.digest, range)),
    };
    ([(header::CONTENT_LENGTH, length)], body)
}

/// Whether a tag is among those of `If-None-Match` (13.1.2).
fn is_among(tag: &str, known: &str) -> bool {
    known.split(',').any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("rpm") => "application/x-rpm",
        Some("xml") => "text/xml",
        Some("gz") => "application/gzip",
        _ => "text/plain; charset=utf-8",
    }
}
