//! Sends a file of known content, or a range of it, piece by piece (RFC 9110).

use crate::generation::FileRef;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_store::{BlobStore, pieces};
use std::ops::Range;

/// Answers a request for this file. `path` says what kind it is; `cache` is what caches may do.
pub fn send<B: BlobStore>(
    blobs: B,
    method: &Method,
    headers: &HeaderMap,
    file: FileRef,
    path: &str,
    cache: &'static str,
) -> Response {
    let tag = format!("\"{}\"", file.digest.hex());
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let about = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, cache.to_owned())];
    if text(header::IF_NONE_MATCH).is_some_and(|known| is_among(&tag, known)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    // A range of something that has changed since is answered with all of it (13.1.5).
    let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    let asked =
        text(header::RANGE).filter(|_| same && *method == Method::GET).map_or(Asked::All, |range| read_range(range, file.size));
    let content = [(header::CONTENT_TYPE, content_type(path)), (header::ACCEPT_RANGES, "bytes")];
    let body = |range: Range<u64>| {
        let length = [(header::CONTENT_LENGTH, (range.end - range.start).to_string())];
        (length, if *method == Method::HEAD { Body::empty() } else { Body::from_stream(pieces(blobs, file.digest, range)) })
    };
    let place = |place: String| [(header::CONTENT_RANGE, format!("bytes {place}/{}", file.size))];
    match asked {
        Asked::All => (about, content, body(0..file.size)).into_response(),
        Asked::Part(range) => {
            let place = place(format!("{}-{}", range.start, range.end - 1));
            (StatusCode::PARTIAL_CONTENT, about, content, place, body(range)).into_response()
        }
        Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, about, place("*".to_owned())).into_response(),
    }
}

/// Whether a tag is among those of `If-None-Match` (13.1.2).
fn is_among(tag: &str, known: &str) -> bool {
    known.split(',').any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    Nothing,
}

/// One range of bytes of a file of this size (14.1.2). Whatever is not understood is no reason to refuse, and several ranges at
/// once are not worth their trouble: all of the file answers them (14.2).
fn read_range(text: &str, size: u64) -> Asked {
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Asked::All };
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_)) if to.is_empty() => from..size,
        (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
        _ => return Asked::All,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("rpm") => "application/x-rpm",
        Some("xml") => "text/xml",
        Some("gz") => "application/gzip",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=-10", Asked::Part(90..100)),
            ("bytes=-1000", Asked::Part(0..100)),
            ("bytes=0-18446744073709551615", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=200-300", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-3", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=a-b", Asked::All),
            ("pages=1-2", Asked::All),
        ] {
            assert_eq!(read_range(text, 100), expected, "{text}");
        }
        assert_eq!(read_range("bytes=0-0", 0), Asked::Nothing);
    }
}
