//! As much of HTTP as talking to a line on this machine takes (RFC 9112).

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A line on this machine answers at once; a minute without an answer is none.
const TIME: Duration = Duration::from_secs(60);

/// Repository files, keys and answers to webhooks have a few KB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpReply {
    pub code: u16,
    /// What follows the headers.
    pub body: Vec<u8>,
}

/// Fetches what must be there.
pub fn get(address: &str, path: &str) -> Result<Vec<u8>> {
    let reply = send(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
        &[],
    )?;
    if reply.code != 200 {
        bail!(
            "http://{address}{path} answers {}: {}",
            reply.code,
            String::from_utf8_lossy(&reply.body).trim()
        );
    }
    Ok(reply.body)
}

/// Posts JSON with headers besides.
pub fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpReply> {
    let mut head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    send(address, &(head + "\r\n"), body)
}

/// HTTP/1.0, for then the server ends the answer by closing the connection, and does not cut it into chunks.
fn send(address: &str, head: &str, body: &[u8]) -> Result<HttpReply> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("nobody listens at {address}"))?;
    stream.set_read_timeout(Some(TIME))?;
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parsed(&bytes).with_context(|| format!("{address} does not answer in HTTP"))
}

fn parsed(bytes: &[u8]) -> Option<HttpReply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let code = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(HttpReply {
        code,
        body: bytes[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_its_code_and_its_body() {
        let reply = parsed(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(
            reply,
            Some(HttpReply {
                code: 202,
                body: b"{}".to_vec()
            })
        );
        assert_eq!(parsed(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
