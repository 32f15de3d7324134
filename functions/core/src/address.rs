//! Addresses of HTTP: how a client reached the line, and texts as parts of a URL.

/// How the client of a request reached the line: `https://rpms.example.org`. `header` answers a header of the request by its name. A host with
/// characters that no host has is not repeated, since the answer is shown to people and copied into their shells.
pub fn base_url<'a>(header: impl Fn(&str) -> Option<&'a str>) -> String {
    let is_host = |host: &&str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c))
    };
    let host = header("x-forwarded-host")
        .or_else(|| header("host"))
        .filter(is_host)
        .unwrap_or("localhost");
    let scheme = header("x-forwarded-proto")
        .filter(|scheme| *scheme == "https")
        .unwrap_or("http");
    format!("{scheme}://{host}")
}

/// A text as one segment of a path or one value of a query: each byte that is not unreserved (RFC 3986, 2.3) and not this sign becomes `%XX`.
pub fn percent_encoded(text: &str, also: char) -> String {
    let encode = |byte: u8| {
        let c = char::from(byte);
        let is_plain = c.is_ascii_alphanumeric() || "-._~".contains(c) || c == also;
        if byte.is_ascii() && is_plain {
            c.to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(headers: &[(&str, &'static str)]) -> String {
        base_url(|name| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        })
    }

    #[test]
    fn a_client_is_answered_with_the_address_that_it_used() {
        assert_eq!(reached(&[]), "http://localhost");
        assert_eq!(
            reached(&[("host", "127.0.0.1:8470")]),
            "http://127.0.0.1:8470"
        );
        let front = [
            ("host", "inner"),
            ("x-forwarded-host", "rpms.example.org"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(reached(&front), "https://rpms.example.org");
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for host in ["", "a b", "x\"><script>", "$(reboot)", "a/b"] {
            let host: &'static str = host;
            assert_eq!(reached(&[("host", host)]), "http://localhost");
        }
        assert_eq!(
            reached(&[("x-forwarded-proto", "javascript")]),
            "http://localhost"
        );
    }

    #[test]
    fn what_is_not_unreserved_is_encoded_byte_by_byte() {
        assert_eq!(percent_encoded("a b/ü@", '@'), "a%20b%2F%C3%BC@");
        assert_eq!(percent_encoded("1.2~rc1+x", '+'), "1.2~rc1+x");
        assert_eq!(percent_encoded("\u{9541}", '\u{e9}'), "%E9%95%81");
    }
}
